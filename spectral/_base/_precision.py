"""Float32 for what low precision is not enough for."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp


Value = TypeVar("Value")


def in_single(tree: Value) -> Value:
    """A pytree with its floating-point arrays in float32 or wider; everything else is unchanged.

    bfloat16 and float16 have two to three digits, which is not enough for sums over many examples,
    for statistics of many steps or for curvature. An array in float32 or float64 is returned as it
    is.
    """
    return jax.tree.map(_in_single, tree)


def _in_single(x: Any) -> Any:
    if not eqx.is_array(x) or not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
