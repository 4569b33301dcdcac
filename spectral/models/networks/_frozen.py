"""Networks whose weights are frozen: stored as integers with the same bits."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..layers._batch_norm import BatchNorm


# Bytes of a number -> integer type of that size.
_BITS = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


class Frozen(eqx.Module):
    """The bits of a parameter.

    Integers are not parameters, so gradients, penalties, noise and resets cannot change them.
    """

    bits: Array
    dtype: Any = eqx.field(static=True)


def frozen(model: PyTree) -> PyTree:
    """Returns the model with `Frozen` in the place of each parameter."""

    def freeze(x: Any) -> Any:
        if not eqx.is_inexact_array(x):
            return x
        return Frozen(jax.lax.bitcast_convert_type(x, _BITS[x.dtype.itemsize]), x.dtype)

    return jax.tree.map(freeze, model)


def thawed(frozen: PyTree) -> Any:
    """Returns the model of which `frozen` made its argument, bit for bit."""

    def thaw(x: Any) -> Any:
        return jax.lax.bitcast_convert_type(x.bits, x.dtype) if isinstance(x, Frozen) else x

    return jax.tree.map(thaw, frozen, is_leaf=lambda x: isinstance(x, Frozen))


def frozen_like(model: PyTree, like: PyTree) -> PyTree:
    """Returns the model with `Frozen` in the place of each parameter, in the types of the frozen
    model `like`."""
    is_frozen = lambda x: isinstance(x, Frozen)
    freeze = lambda old, x: frozen(x.astype(old.dtype)) if is_frozen(old) else x
    return jax.tree.map(freeze, like, model, is_leaf=is_frozen)


def check_without_statistics(name: str, network: PyTree, next_step: str) -> None:
    """**Raises:** `ValueError` if a network that is to be frozen has running statistics, because
    its function would keep changing."""
    is_norm = lambda x: isinstance(x, BatchNorm | eqx.nn.BatchNorm)
    if any(map(is_norm, jax.tree.leaves(network, is_leaf=is_norm))):
        raise ValueError(
            f"`{name}` has running statistics, which keep changing in a frozen network: "
            f"{next_step} a network without BatchNorm."
        )
