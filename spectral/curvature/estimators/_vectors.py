"""Random vectors from which a spectrum is estimated."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray


BEFORE_PROBES = 2**31 - 1  # the number of a vector that goes before all probes


class AbstractProbeVector(eqx.Module):
    """A distribution of vectors v with mean v v^T = I / dim.

    The mean of v^T f(A) v is then the mean of f over the eigenvalues of A. The numbers are drawn in
    single precision whatever the dtype, so that the same key gives the same vectors in both.
    """

    @abstractmethod
    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        """One vector."""


class Sphere(AbstractProbeVector):
    """Uniform on the sphere of radius 1, in every basis.

    One probe counts r of dim eigenvalues with variance 2 r (1 - r / dim) dim / (dim + 2).
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        vector = jax.random.normal(key, (dim,), jnp.float32).astype(dtype)
        return vector / jnp.linalg.norm(vector)


class Normal(AbstractProbeVector):
    """Independent normal entries of variance 1 / dim.

    Its length varies, and with it the sum of all the weights of a probe, whose mean is 1: one probe
    counts r eigenvalues with variance 2 r, never less than `Sphere`. It is there for comparison.
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.normal(key, (dim,), jnp.float32).astype(dtype) / dim**0.5


class Signs(AbstractProbeVector):
    """Independent entries of 1 or -1, divided by the root of dim (Rademacher, Hutchinson).

    The basis matters: the mean of f is exact for a diagonal matrix, and its variance that of the
    entries of f(A) off the diagonal alone. Where the eigenvectors are spread it differs little
    from `Sphere`.
    """

    def __call__(self, dim: int, dtype: DTypeLike, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.rademacher(key, (dim,), jnp.float32).astype(dtype) / dim**0.5


def probe_key(
    key: PRNGKeyArray, probe: int | Int[Array, ""], number: int | Int[Array, ""] = 0
) -> PRNGKeyArray:
    """The key of draw number `number` of a probe: 0 is the vector that it starts from."""
    return jax.random.fold_in(jax.random.fold_in(key, probe), number)


def sphere_probe(
    key: PRNGKeyArray, probe: int | Int[Array, ""], dim: int, dtype: DTypeLike
) -> Float[Array, " dim"]:
    """The unit vector, uniform on the sphere, from which probe number `probe` starts."""
    return Sphere()(dim, dtype, key=probe_key(key, probe))
