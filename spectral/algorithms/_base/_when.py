"""A branch on what happened to a learner, rather than on the clock."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._carry import arrays_of, on_arrays, with_arrays


Value = TypeVar("Value")


def when(condition: Bool[Array, ""], change: Callable[[Value], Value], value: Value) -> Value:
    """`change(value)` where `condition` holds, otherwise `value`. Only arrays may change.

    A loop of at most one round, not `lax.cond`: under `vmap` over seeds the condition differs from
    member to member, and a `cond` would then compute `change` at every step for all of them. The
    loop computes it when at least one member needs it.
    """
    changed = on_arrays(change, value)
    once = lambda carried: (jnp.array(False), changed(carried[1]))
    carried = (condition, arrays_of(value))
    return with_arrays(value, jax.lax.while_loop(lambda carried: carried[0], once, carried)[1])
