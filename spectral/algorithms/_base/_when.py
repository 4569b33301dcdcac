"""A branch on what happened to a learner, rather than on the clock."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


Value = TypeVar("Value")


def when(condition: Bool[Array, ""], change: Callable[[Value], Value], value: Value) -> Value:
    """`change(value)` where `condition` holds, otherwise `value`. Only arrays may change.

    A loop of at most one round, not `lax.cond`: under `vmap` over seeds the condition differs from
    member to member, and a `cond` would then compute `change` at every step for all of them. The
    loop computes it when at least one member needs it.
    """
    dynamic, static = eqx.partition(value, eqx.is_array)

    def body(carry):
        changed = change(eqx.combine(carry[1], static))
        return jnp.array(False), eqx.filter(changed, eqx.is_array)

    _, dynamic = jax.lax.while_loop(lambda carry: carry[0], body, (condition, dynamic))
    return eqx.combine(dynamic, static)
