"""The random vectors that a spectrum is estimated from."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray


BEFORE_VECTORS = 2**31 - 1  # the index of the vector of a first iteration, before all others


class AbstractVectorDistribution(eqx.Module):
    """A distribution of vectors v for which the mean of v v^T is I / dim.

    The mean of v^T f(A) v is then the mean of f over the eigenvalues of A. The numbers are drawn in
    single precision for any dtype, so the same key gives the same vectors in single and in double
    precision.
    """

    @abstractmethod
    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        """One vector."""


class Sphere(AbstractVectorDistribution):
    """The uniform distribution on the sphere of radius 1, which is the same in every basis.

    The count that one vector gives for r of dim eigenvalues has the variance
    2 r (1 - r / dim) dim / (dim + 2).
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        vector = jax.random.normal(key, (dim,), jnp.float32).astype(dtype)
        return vector / jnp.linalg.norm(vector)


class Normal(AbstractVectorDistribution):
    """Independent normal entries of variance 1 / dim.

    The length of a vector varies, and so does the sum of its weights, whose mean is 1. The count
    that one vector gives for r eigenvalues has the variance 2 r, which is larger than that of
    `Sphere`. Use it for comparison.
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.normal(key, (dim,), jnp.float32).astype(dtype) / dim**0.5


class Rademacher(AbstractVectorDistribution):
    """Independent entries of 1 or -1, divided by the root of dim (Rademacher, Hutchinson).

    The basis matters. The mean of f is exact for a diagonal matrix, and its variance depends only
    on the off-diagonal entries of f(A). If the eigenvectors are spread over the coordinates, the
    difference from `Sphere` is small.
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.rademacher(key, (dim,), jnp.float32).astype(dtype) / dim**0.5


def vector_key(
    key: PRNGKeyArray, index: int | Int[Array, ""], *, draw: int | Int[Array, ""] = 0
) -> PRNGKeyArray:
    """The key of draw `draw` of the vector with this index; draw 0 is the vector itself."""
    return jax.random.fold_in(jax.random.fold_in(key, index), draw)


def sphere_vector(
    key: PRNGKeyArray, index: int | Int[Array, ""], dim: int, dtype: DTypeLike
) -> Float[Array, " dim"]:
    """The vector with this index, of length 1 and uniform on the sphere."""
    return Sphere()(dim, dtype, key=vector_key(key, index))
