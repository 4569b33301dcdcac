"""Stochastic Lanczos quadrature."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._arguments import check_count
from ...._blas import single_threaded_blas
from ...operators._operator import AbstractOperator
from ...spectra._spectrum import Spectrum
from .._vectors import AbstractVectorDistribution, Sphere, vector_key
from ._tridiagonal import order_within, ritz, Tridiagonal, tridiagonalise


class Lanczos(eqx.Module):
    """Estimate a spectrum by stochastic Lanczos quadrature.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))  # eigenvalues 0, 1, 4, ...
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # about 9
    ```

    **Arguments:**

    - `order`: products with the matrix per vector, which are the nodes of the quadrature; by
        default 100, or the dimension where that is less. It sets the resolution: between the
        outliers, which are found first, about the range of the other eigenvalues divided by
        `order`.
    - `num_vectors`: independent random vectors. They set the standard error: one vector on the
        sphere counts r of dim eigenvalues with a relative standard deviation of sqrt(2 / r). Two at
        least are needed for a standard error.
    - `distribution`: what the vectors are drawn from: `Sphere()`, `Rademacher()` or `Normal()`.

    Vectors run one after the other, each in memory of `order * dim` numbers. Every vector is
    orthogonalised twice against all before it, without which float32 finds the outliers again and
    again. A collapsed network has a Krylov space of a few dimensions; where it ends, the iteration
    goes on from a new random vector, which adds nodes without weight, and marks the spectrum as
    `exhausted`. It ends when the next off-diagonal entry is at most 10 eps max ||A q||, the
    `tolerance` of the spectrum: what is left is then rounding.

    The products run in the dtype of the parameters, the eigenvalue problems of the tridiagonal
    matrices always in float64. Against an iteration in float64 from the same vectors, the weight
    beyond epsilon = 0.1 of a bulk on [0, 0.3] below ten outliers moved by 1e-5, 5e-5 and 4e-4 with
    outliers up to 1e2, 1e3 and 1e4 (order 100); solved in float32 by 1e-4, 1e-3 and 3e-2.

    Everything is compiled, also when called outside `jax.jit`, and compiled anew only for an
    operator of other shapes or other functions. See Ubaru, Chen and Saad (2017) for the method and
    Golub and Van Loan (2013), section 10.3, for the iteration.

    **Raises:** `ValueError` if `order` or `num_vectors` is not a positive integer, and when called
    if `order` is larger than `operator.dim`.
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
            # Computation is asynchronous: wait for it, for the limit on the threads ends here.
            return jax.block_until_ready(_estimate(self, order, operator, key))


@eqx.filter_jit
def _estimate(
    lanczos: Lanczos, order: int, operator: AbstractOperator, key: PRNGKeyArray
) -> Spectrum:
    with jax.default_matmul_precision("highest"):
        product = operator.flat_product()

        def run(index: Int[Array, ""]):
            vector = lanczos.distribution(operator.dim, operator.dtype, key=vector_key(key, index))
            length = jnp.linalg.norm(vector)
            matrix, _ = tridiagonalise(product, vector / length, order, key=key, index=index)
            return matrix, length

        matrix, length = jax.lax.map(run, jnp.arange(lanczos.num_vectors))
    return quadrature(matrix, length, operator.dim)


def quadrature(matrix: Tridiagonal, length: Float[Array, " vectors"], dim: int) -> Spectrum:
    """Nodes and weights from the tridiagonal matrices of all vectors, and the lengths of these."""
    pairs = jax.vmap(ritz)(matrix)
    weights = pairs.vectors[:, 0] ** 2
    return Spectrum(
        nodes=pairs.values,
        weights=length[:, None] ** 2 * weights / jnp.sum(weights, axis=1, keepdims=True),
        residuals=pairs.residuals,
        diagonal=matrix.diagonal,
        off_diagonal=matrix.off_diagonal,
        exhausted=matrix.exhausted,
        tolerance=matrix.tolerance,
        dim=dim,
    )
