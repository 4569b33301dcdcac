"""Stochastic Lanczos quadrature with any Lanczos iteration."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._arguments import as_int, as_int_or_none, check_count
from ...._base._scaling import times_power
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._spectrum import Spectrum
from .._over_vectors import check_vector_mesh, over_vectors
from .._units import scaled_product, ScaledProduct
from .._vectors import AbstractVectorDistribution, Sphere, vector_key
from ._order import check_order, order_within
from ._tridiagonal import ritz, Tridiagonal


class AbstractLanczosQuadrature(eqx.Module):
    """Estimates a spectrum from the tridiagonal matrix of each of several random vectors."""

    _: KW_ONLY
    order: int | None = eqx.field(static=True, default=None, converter=as_int_or_none)
    num_vectors: int = eqx.field(static=True, default=3, converter=as_int)
    distribution: AbstractVectorDistribution = Sphere()
    mesh: Mesh | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_order("order", self.order)
        check_count("num_vectors", self.num_vectors)
        check_vector_mesh(self.mesh, "num_vectors", self.num_vectors)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Estimates the spectrum; vector i is `distribution(..., key=vector_key(key, i))`."""
        order = order_within("order", self.order, operator.dim, default=100)
        return _estimate(self, order, operator, key)

    @abstractmethod
    def tridiagonal(
        self,
        product: ScaledProduct,
        vector: Float[Array, " dim"],
        length: Float[Array, ""],
        order: int,
        *,
        key: PRNGKeyArray,
        index: Int[Array, ""],
    ) -> Tridiagonal:
        """The Lanczos iteration from a vector of this length."""


@jit_single_threaded
def _estimate(
    lanczos: AbstractLanczosQuadrature, order: int, operator: AbstractOperator, key: PRNGKeyArray
) -> Spectrum:
    with jax.default_matmul_precision("highest"):
        product = scaled_product(operator)

        def run(index: Int[Array, ""]) -> tuple[Tridiagonal, Float[Array, ""]]:
            vector = lanczos.distribution(operator.dim, operator.dtype, key=vector_key(key, index))
            length = jnp.linalg.norm(vector)
            matrix = lanczos.tridiagonal(product, vector, length, order, key=key, index=index)
            return matrix, length

        indices = jnp.arange(lanczos.num_vectors)
        matrices, lengths = over_vectors(run, indices, operator, lanczos.mesh)
    return quadrature(matrices, lengths, operator.dim)


def quadrature(matrices: Tridiagonal, lengths: Float[Array, " vectors"], dim: int) -> Spectrum:
    """Nodes and weights from the tridiagonal matrices and the lengths of all vectors."""
    pairs = jax.vmap(ritz)(matrices)
    weights = pairs.vectors[:, 0] ** 2
    exponents = matrices.exponent[:, None]
    return Spectrum(
        nodes=times_power(pairs.values, exponents),
        weights=lengths[:, None] ** 2 * weights / jnp.sum(weights, axis=1, keepdims=True),
        residuals=times_power(pairs.residuals, exponents),
        diagonal=times_power(matrices.diagonal, exponents),
        off_diagonal=times_power(matrices.off_diagonal, exponents),
        exhausted=matrices.exhausted,
        tolerance=times_power(matrices.tolerance, matrices.exponent),
        dim=dim,
        copies=matrices.copies,
    )
