"""Outliers counted one by one, and Lanczos quadrature for the rest."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Real

from ...._arguments import check_above, check_count
from ...._blas import single_threaded_blas
from ...operators._operator import AbstractOperator
from ...spectra._deflated_spectrum import DeflatedSpectrum
from .._vectors import BEFORE_VECTORS, Sphere, vector_key
from ._lanczos import quadrature
from ._tridiagonal import order_within, ritz, tridiagonalise


class Deflated(eqx.Module):
    """Count the eigenvalues that one Lanczos iteration has found, and estimate the others.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Deflated, epsilon_rank, Hessian

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(100.0))
    spectrum = Deflated(order=20, deflation_order=60)(hessian, key=jax.random.key(0))
    epsilon_rank(spectrum, 9000.0).value  # 5, with a standard error near 0
    ```

    A vector counts r eigenvalues with a relative standard deviation of sqrt(2 / r): a few outliers,
    which matter most, are counted worst. Yet their eigenvectors are what Lanczos finds first. This
    estimator removes every Ritz pair of a first iteration whose residual is small, and runs the
    vectors in the orthogonal complement of the rest.

    **Arguments:**

    - `order`, `num_vectors`: as of `Lanczos`, for the complement. The vectors are uniform on its
      sphere.
    - `deflation_order`: products of the first iteration, and the largest number of eigenvalues
        that it can count; by default 100, or the dimension where that is less.
    - `accuracy`: a Ritz pair is removed if its residual is at most this times the largest Ritz
        value in magnitude. The residuals of all that were removed widen the bounds of a count
        (see `DeflatedSpectrum`), so a large value removes more and promises less.

    It takes memory for `2 * deflation_order` or `deflation_order + order` vectors, whichever is
    more.

    **Raises:** `ValueError` if an order or `num_vectors` is not a positive integer, if `accuracy`
    is not positive, and when called if an order is larger than `operator.dim`.
    """

    order: int | None = eqx.field(static=True)
    num_vectors: int = eqx.field(static=True)
    deflation_order: int | None = eqx.field(static=True)
    accuracy: Float[Array, ""]

    def __init__(
        self,
        *,
        order: int | None = None,
        num_vectors: int = 3,
        deflation_order: int | None = None,
        accuracy: Real[Array, ""] | float = 1e-5,
    ):
        self.order = order
        self.num_vectors = num_vectors
        self.deflation_order = deflation_order
        self.accuracy = jnp.asarray(accuracy, dtype=float)
        check_above("accuracy", self.accuracy, 0.0)
        for name, value in (("order", order), ("deflation_order", deflation_order)):
            if value is not None:
                check_count(name, value)
        check_count("num_vectors", num_vectors)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> DeflatedSpectrum:
        """Estimate the spectrum of `operator`."""
        within = lambda name, order: order_within(name, order, operator.dim, default=100)
        orders = within("deflation_order", self.deflation_order), within("order", self.order)
        with single_threaded_blas():
            return jax.block_until_ready(_estimate(self, *orders, operator, key))


@eqx.filter_jit
def _estimate(
    deflated: Deflated,
    deflation_order: int,
    order: int,
    operator: AbstractOperator,
    key: PRNGKeyArray,
) -> DeflatedSpectrum:
    dim, dtype = operator.dim, operator.dtype
    with jax.default_matmul_precision("highest"):
        product = operator.flat_product()
        start = Sphere()(dim, dtype, key=vector_key(key, BEFORE_VECTORS))
        matrix, basis = tridiagonalise(
            product, start, deflation_order, key=key, index=BEFORE_VECTORS
        )
        pairs = ritz(matrix)
        scale = jnp.max(jnp.abs(pairs.values))
        known = pairs.residuals <= deflated.accuracy.astype(dtype) * scale
        # The rows of the others are zero: how many are known depends on the data.
        vectors = jnp.where(known, pairs.vectors, 0).T @ basis
        left = dim - jnp.sum(known)
        # The vector that leads out of the Krylov space is the same for every pair.
        margin = jnp.linalg.norm(jnp.where(known, pairs.residuals, 0)) + matrix.tolerance

        def project(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
            return vector - (vectors @ vector) @ vectors

        def run(index: Int[Array, ""]):
            vector = project(project(Sphere()(dim, dtype, key=vector_key(key, index))))
            vector = jnp.where(left > 0, vector / jnp.linalg.norm(vector), 0)
            return tridiagonalise(
                product, vector, order, key=key, index=index, project=project, dimensions=left
            )[0]

        rest = quadrature(
            jax.lax.map(run, jnp.arange(deflated.num_vectors)),
            jnp.ones(deflated.num_vectors, dtype),
            dim,
        )
    # Where nothing is left, the rest has no nodes: put those it must have among the others.
    nodes = jnp.where(left > 0, rest.nodes, pairs.values[0])
    rest = eqx.tree_at(
        lambda r: (r.nodes, r.tolerance), rest, (nodes, jnp.maximum(rest.tolerance, margin))
    )
    return DeflatedSpectrum(
        values=pairs.values,
        known=known,
        residuals=pairs.residuals,
        margin=margin,
        rest=rest,
        dim=dim,
    )
