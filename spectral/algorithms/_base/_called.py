"""The methods of transforms and penalties, called with a check of what they return.

They may be those of a user. All raise `TypeError` naming its class and method.
"""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._base._returned import check_kept, check_row, check_scalar, check_tuple
from ..._types import Clock, Learner, Signal


def begun(
    transform: Any, learner: Learner, state: Any, clock: Clock, *, key: PRNGKeyArray
) -> tuple[Learner, Any]:
    """Returns `transform.begin_task(learner, state, clock, key=key)`, a learner and a state."""
    found = transform.begin_task(learner, state, clock, key=key)
    check_tuple(transform, "begin_task", found, Learner, object)
    check_kept(transform, "begin_task", _kept((learner, state)), _kept(found))
    return found


def updated(
    transform: Any, learner: Learner, state: Any, signal: Signal, *, key: PRNGKeyArray
) -> tuple[Learner, Any]:
    """Returns `transform.update(learner, state, signal, key=key)`, a learner and a state whose
    arrays have the shapes and types that they had."""
    found = transform.update(learner, state, signal, key=key)
    check_tuple(transform, "update", found, Learner, object)
    check_kept(transform, "update", _kept((learner, state)), _kept(found))
    return found


def measured(transform: Any, state: Any) -> dict[str, Array]:
    """Returns `transform.measure(state)`, a dictionary of numbers or arrays by name."""
    found = transform.measure(state)
    check_row(transform, "measure", found)
    return found


def penalised(penalty: Any, model: PyTree, state: Any) -> Float[Array, ""]:
    """Returns `penalty.value(model, state)`, a scalar."""
    found = penalty.value(model, state)
    check_scalar(penalty, "value", found)
    return found


def followed(penalty: Any, model: PyTree, state: Any, *, key: PRNGKeyArray) -> Any:
    """Returns `penalty.update(model, state, key=key)`, a state like the one before."""
    found = penalty.update(model, state, key=key)
    check_kept(penalty, "update", state, found)
    return found


def _kept(pair: tuple[Learner, Any]) -> PyTree:
    """What must keep its form. A state of `eqx.nn` that a transform has used cannot be looked at
    again."""
    learner, state = pair
    return (learner.model, learner.optimiser), state
