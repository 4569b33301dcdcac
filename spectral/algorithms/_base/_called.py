"""The methods of a transform or penalty, called with a check of what they return.

The part may be one that a user has defined. All raise `TypeError` naming its class and method.
"""

from typing import Any

from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._base._returned import check_kept, check_row, check_static_kept, check_tuple
from ..._types import Learner, Signal, TaskStart


def begun(
    transform: Any, learner: Learner, state: Any, start: TaskStart, *, key: PRNGKeyArray
) -> tuple[Learner, Any]:
    """Returns `transform.begin_task(learner, state, start, key=key)`, a learner and a state."""
    found = transform.begin_task(learner, state, start, key=key)
    check_tuple(transform, "begin_task", found, Learner, object)
    return found


def updated(
    transform: Any, learner: Learner, state: Any, signal: Signal, *, key: PRNGKeyArray
) -> tuple[Learner, Any]:
    """Returns `transform.update(learner, state, signal, key=key)`, a learner and a state whose
    arrays have the shapes and types that they had."""
    found = transform.update(learner, state, signal, key=key)
    check_tuple(transform, "update", found, Learner, object)
    # A state of `eqx.nn` that the transform has used cannot be looked at again.
    kept = lambda pair: ((pair[0].model, pair[0].optimiser), pair[1])
    check_kept(transform, "update", kept((learner, state)), kept(found))
    return found


def after_reset(
    part: Any, owner: Any, state: Any, reset: PyTree[bool], *, key: PRNGKeyArray
) -> Any:
    """Returns `part.after_reset(owner, state, reset, key=key)`, a state whose arrays have the
    shapes and types that they had. The owner is the learner of a transform, or the model of a
    penalty."""
    found = part.after_reset(owner, state, reset, key=key)
    check_static_kept("after_reset", state, found)
    check_kept(part, "after_reset", state, found)
    return found


def measured(transform: Any, state: Any) -> dict[str, Array]:
    """Returns `transform.measure(state)`, a dictionary of numbers or arrays by name."""
    found = transform.measure(state)
    check_row(transform, "measure", found)
    return found
