"""Lanczos quadrature with the iteration of matfree."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray
from matfree import decomp

from ...._arguments import check_count
from ...._blas import single_threaded_blas
from ...operators._operator import AbstractOperator
from ...spectra._spectrum import Spectrum
from .._vectors import AbstractVectorDistribution, Sphere, vector_key
from ._lanczos import quadrature
from ._tridiagonal import order_within, Tridiagonal


class MatfreeLanczos(eqx.Module):
    """Stochastic Lanczos quadrature with the iteration of matfree: a second opinion on `Lanczos`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Hessian, MatfreeLanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = MatfreeLanczos(order=10)(hessian, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # about 9
    ```

    From the same key it starts from the same vectors, and the iteration is another program, so
    where the two agree neither is likely to be wrong. It does not look for the end of the Krylov
    space: **where most rows of a matrix are zero, as in a collapsed network, it returns rounding
    errors as nodes, far outside of the spectrum but almost without weight; for a zero matrix NaN.**
    It never marks a spectrum as exhausted.

    **Arguments:** as of `Lanczos`.

    **Raises:** as `Lanczos`.
    """

    _: KW_ONLY
    order: int | None = eqx.field(static=True, default=None)
    num_vectors: int = eqx.field(static=True, default=3)
    distribution: AbstractVectorDistribution = Sphere()

    def __check_init__(self):
        if self.order is not None:
            check_count("order", self.order)
        check_count("num_vectors", self.num_vectors)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Estimate the spectrum; vector i starts from `distribution(..., key=vector_key(key,
        i))`."""
        order = order_within("order", self.order, operator.dim, default=100)
        with single_threaded_blas():
            return jax.block_until_ready(_estimate(self, order, operator, key))


@eqx.filter_jit
def _estimate(
    lanczos: MatfreeLanczos, order: int, operator: AbstractOperator, key: PRNGKeyArray
) -> Spectrum:
    decompose = decomp.tridiag_sym(order, materialize=False, custom_vjp=False)
    with jax.default_matmul_precision("highest"):
        product = operator.flat_product()

        def run(index: Int[Array, ""]):
            vector = lanczos.distribution(operator.dim, operator.dtype, key=vector_key(key, index))
            _, (diagonal, off_diagonal), residual, _ = decompose(product, vector)
            scale = jnp.max(jnp.abs(diagonal))
            matrix = Tridiagonal(
                diagonal=diagonal,
                off_diagonal=off_diagonal,
                leads_out=jnp.linalg.norm(residual),
                exhausted=jnp.array(False),
                tolerance=10 * jnp.finfo(scale.dtype).eps * scale,
                dimensions=jnp.asarray(order),
            )
            return matrix, jnp.linalg.norm(vector)

        matrix, length = jax.lax.map(run, jnp.arange(lanczos.num_vectors))
    return quadrature(matrix, length, operator.dim)
