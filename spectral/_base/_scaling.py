"""Exact multiplication by powers of two, so that no square overflows or underflows."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


Exponent = Int[Array, "..."]


def exponent_of(
    x: Float[Array, "..."], axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
) -> Exponent:
    """The k for which the largest |x| is at least 2^(k-1) and below 2^k.

    It is 0 if all entries are zero, and if one is not finite.
    """
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis, keepdims=keepdims, initial=0)
    return jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 0))[1]


def times_power(x: Float[Array, "..."], exponent: int | Exponent) -> Float[Array, "..."]:
    """x * 2^exponent, to the bit, unless the result leaves the range of normal numbers."""
    exponent = jnp.asarray(exponent, jnp.int32)
    # One factor alone may be out of range although the result is not.
    half = exponent // 2
    return x * _power(half, x.dtype) * _power(exponent - half, x.dtype)


def norm(
    x: Float[Array, "..."], axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The Euclidean norm, for entries of any size: `jnp.linalg.norm` squares them as they are.

    At zero the derivative is NaN, as that of `jnp.linalg.norm`.
    """
    exponent = exponent_of(x, axis, keepdims=True)
    squares = jnp.sum(times_power(x, -exponent) ** 2, axis, keepdims=keepdims)
    return times_power(jnp.sqrt(squares), exponent.reshape(squares.shape))


def joint_norm(arrays: Sequence[Float[Array, "..."]]) -> Float[Array, ""]:
    """The Euclidean norm of all entries of several arrays together, for entries of any size."""
    dtype = jnp.result_type(jnp.float32, *arrays)
    exponent = exponent_of(
        jnp.stack([jnp.max(jnp.abs(x), initial=0).astype(dtype) for x in arrays])
    )
    squares = sum(jnp.sum(times_power(x, -exponent) ** 2) for x in arrays)
    return times_power(jnp.sqrt(jnp.asarray(squares)), exponent)


def _power(exponent: Exponent, dtype: DTypeLike) -> Float[Array, "..."]:
    """2^exponent as a product of bits: XLA's `pow` and `exp2` may round it."""
    if dtype == jnp.float64:
        bits = (jnp.clip(exponent, -1022, 1023).astype(jnp.int64) + 1023) << 52
        return jax.lax.bitcast_convert_type(bits, jnp.float64)
    bits = (jnp.clip(exponent, -126, 127) + 127) << 23
    return jax.lax.bitcast_convert_type(bits, jnp.float32).astype(dtype)
