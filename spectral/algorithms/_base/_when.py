"""A branch on a condition that depends on the learner, not only on the clock."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._carry import arrays_of, on_arrays, with_arrays


Value = TypeVar("Value")


def when(condition: Bool[Array, ""], change: Callable[[Value], Value], value: Value) -> Value:
    """Returns `change(value)` if `condition` holds, otherwise `value`. Only arrays may change.

    This is a loop of at most one round instead of `lax.cond`. Under `vmap` over seeds the condition
    differs between members, and a `cond` would then compute `change` for all of them at every step.
    The loop computes it only when at least one member needs it.
    """
    changed = on_arrays(change, value)
    once = lambda carried: (jnp.array(False), changed(carried[1]))
    carried = (condition, arrays_of(value))
    return with_arrays(value, jax.lax.while_loop(lambda carried: carried[0], once, carried)[1])
