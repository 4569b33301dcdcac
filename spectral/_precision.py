"""Precisions: float32 for what low precision would spoil, and types that do not change."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


Value = TypeVar("Value")


def in_single(tree: Value) -> Value:
    """A pytree with its floating-point arrays in float32 or wider; everything else is unchanged.

    bfloat16 and float16 have two to three digits, which is not enough for sums over many examples,
    for statistics of many steps or for curvature. An array in float32 or float64 is returned as it
    is.
    """
    return jax.tree.map(_in_single, tree)


def narrowed(tree: Value, like: PyTree) -> Value:
    """A pytree whose arrays have the types of those of `like` where these are narrower.

    A float32 array that stands for a bfloat16 one becomes bfloat16, because a product of the two
    types is computed in the wider one. All other leaves are unchanged, as is a pytree of another
    structure.
    """
    if jax.tree.structure(tree) != jax.tree.structure(like):
        return tree
    return jax.tree.map(_narrowed, tree, like)


def _in_single(x: Any) -> Any:
    if not eqx.is_array(x) or not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _narrowed(x: Any, like: Any) -> Any:
    pair = x, like
    if not all(eqx.is_array(a) and jnp.issubdtype(a.dtype, jnp.floating) for a in pair):
        return x
    wider = x.dtype != like.dtype and jnp.promote_types(x.dtype, like.dtype) == x.dtype
    return x.astype(like.dtype) if wider else x
