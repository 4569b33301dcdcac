"""A factor of a Kronecker product: a matrix, or the diagonal of one."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...._base._scaling import exponent_of, times_power
from ...._eigh import eigh, eigvalsh


Factor = Float[Array, "size size"] | Float[Array, " size"]


def times_rows(factor: Factor, matrix: Float[Array, "size columns"]) -> Array:
    """R M."""
    return factor[:, None] * matrix if factor.ndim == 1 else factor @ matrix


def trace_of(factor: Factor) -> Float[Array, ""]:
    """The sum of the eigenvalues."""
    return jnp.sum(factor) if factor.ndim == 1 else jnp.trace(factor)


def values_of(factor: Factor) -> Float[Array, " size"]:
    """The eigenvalues, ascending."""
    return semi_definite(jnp.sort(factor) if factor.ndim == 1 else eigvalsh(factor))


def vectors_of(factor: Factor) -> tuple[Float[Array, " size"], Array | None]:
    """The eigenvalues and eigenvectors. A diagonal has the standard basis, `None`."""
    if factor.ndim == 1:
        return semi_definite(factor), None
    values, vectors = eigh(factor)
    return semi_definite(values), vectors


def square_of(x: Float[Array, "..."]) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The sum of the squared entries in units of 4^exponent, and the exponent."""
    exponent = exponent_of(x)
    return jnp.sum(times_power(x, -exponent) ** 2), exponent


def inner(a: Factor, b: Factor) -> Float[Array, ""]:
    """The sum of the products of corresponding entries."""
    if a.ndim != b.ndim:
        a, b = (jnp.diagonal(x) if x.ndim == 2 else x for x in (a, b))
    return jnp.sum(a * b)


def semi_definite(values: Float[Array, " size"]) -> Float[Array, " size"]:
    """The eigenvalues of a semi-definite matrix, without those that are rounding errors."""
    # Values that cannot be distinguished from 0 are set to 0. Otherwise the determinant of a
    # singular matrix would be a product of rounding errors whenever these happen to be positive.
    rounding = 10 * jnp.finfo(values.dtype).eps * jnp.max(values)
    return jnp.where(values <= rounding, 0, values)
