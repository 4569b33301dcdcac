"""The methods of transforms and penalties, called with a check of what they return.

They may be those of a user. All raise `TypeError` naming its class and method. Arrays in place of
low-precision ones become as narrow as these, because a product of a bfloat16 weight with a float32
number is computed in float32.
"""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._base._returned import check_kept, check_row, check_scalar, check_tuple
from ..._carry import narrowed
from ..._types import Learner, Signal, Step, TaskStart


def begun(
    transform: Any, learner: Learner, state: Any, start: TaskStart, *, key: PRNGKeyArray
) -> tuple[Learner, Any]:
    """Returns `transform.begin_task(learner, state, start, key=key)`, a learner and a state whose
    arrays have the shapes and types that they had."""
    found = transform.begin_task(learner, state, start, key=key)
    return _checked(transform, "begin_task", (learner, state), found)


def updated(
    transform: Any, learner: Learner, state: Any, signal: Signal, *, key: PRNGKeyArray
) -> tuple[Learner, Any]:
    """Returns `transform.update(learner, state, signal, key=key)`, a learner and a state whose
    arrays have the shapes and types that they had."""
    found = transform.update(learner, state, signal, key=key)
    return _checked(transform, "update", (learner, state), found)


def after_reset(
    part: Any, owner: Any, state: Any, reset: PyTree[bool], *, key: PRNGKeyArray
) -> Any:
    """Returns `part.after_reset(owner, state, reset, key=key)`, a state like the one before. The
    owner is the learner of a transform, or the model of a penalty."""
    found = narrowed(part.after_reset(owner, state, reset, key=key), state)
    check_kept(part, "after_reset", state, found)
    return found


def measured(transform: Any, state: Any) -> dict[str, Array]:
    """Returns `transform.measure(state)`, a dictionary of numbers or arrays by name."""
    found = transform.measure(state)
    check_row(transform, "measure", found)
    return found


def penalised(penalty: Any, model: PyTree, state: Any, step: Step) -> Float[Array, ""]:
    """Returns `penalty.value(model, state, step)`, a scalar."""
    found = penalty.value(model, state, step)
    check_scalar(penalty, "value", found)
    return found


def followed(penalty: Any, model: PyTree, state: Any, signal: Signal, *, key: PRNGKeyArray) -> Any:
    """Returns `penalty.update(model, state, signal, key=key)`, a state like the one before."""
    found = narrowed(penalty.update(model, state, signal, key=key), state)
    check_kept(penalty, "update", state, found)
    return found


def _checked(
    transform: Any, method: str, before: tuple[Learner, Any], found: Any
) -> tuple[Learner, Any]:
    check_tuple(transform, method, found, Learner, object)
    learner = found[0]
    # A state of `eqx.nn` that the transform has used cannot be looked at again.
    kept = lambda pair: ((pair[0].model, pair[0].optimiser), pair[1])
    (model, optimiser), state = narrowed(kept(found), kept(before))
    check_kept(transform, method, kept(before), ((model, optimiser), state))
    return Learner(model, learner.model_state, optimiser), state
