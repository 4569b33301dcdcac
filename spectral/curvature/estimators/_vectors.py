"""Random vectors from which a spectrum is estimated."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray


BEFORE_VECTORS = 2**31 - 1  # the index of a vector that goes before all others


class AbstractVectorDistribution(eqx.Module):
    """A distribution of vectors v with mean v v^T = I / dim.

    The mean of v^T f(A) v is then the mean of f over the eigenvalues of A. The numbers are drawn in
    single precision whatever the dtype, so that the same key gives the same vectors in both.
    """

    @abstractmethod
    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        """One vector."""


class Sphere(AbstractVectorDistribution):
    """Uniform on the sphere of radius 1, in every basis.

    One vector counts r of dim eigenvalues with variance 2 r (1 - r / dim) dim / (dim + 2).
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        vector = jax.random.normal(key, (dim,), jnp.float32).astype(dtype)
        return vector / jnp.linalg.norm(vector)


class Normal(AbstractVectorDistribution):
    """Independent normal entries of variance 1 / dim.

    Its length varies, and with it the sum of all the weights of a vector, whose mean is 1: one
    vector counts r eigenvalues with variance 2 r, never less than `Sphere`. It is there for
    comparison.
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.normal(key, (dim,), jnp.float32).astype(dtype) / dim**0.5


class Rademacher(AbstractVectorDistribution):
    """Independent entries of 1 or -1, divided by the root of dim (Rademacher, Hutchinson).

    The basis matters: the mean of f is exact for a diagonal matrix, and its variance that of the
    entries of f(A) off the diagonal alone. Where the eigenvectors are spread it differs little
    from `Sphere`.
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.rademacher(key, (dim,), jnp.float32).astype(dtype) / dim**0.5


def vector_key(
    key: PRNGKeyArray, index: int | Int[Array, ""], *, draw: int | Int[Array, ""] = 0
) -> PRNGKeyArray:
    """The key of draw `draw` of the vector with this index: 0 is the vector itself."""
    return jax.random.fold_in(jax.random.fold_in(key, index), draw)


def sphere_vector(
    key: PRNGKeyArray, index: int | Int[Array, ""], dim: int, dtype: DTypeLike
) -> Float[Array, " dim"]:
    """The unit vector, uniform on the sphere, with this index, from which an estimator starts."""
    return Sphere()(dim, dtype, key=vector_key(key, index))
