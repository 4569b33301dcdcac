"""Outliers counted individually, and Lanczos quadrature for the rest."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, Real

from ...._arguments import as_int, as_int_or_none, check_above, check_count, Count
from ...._base._scaling import times_power
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._deflated_spectrum import DeflatedSpectrum
from .._over_vectors import check_vector_mesh, over_vectors
from .._units import scaled_product
from .._vectors import BEFORE_VECTORS, sphere_vector
from ._order import check_order, order_within
from ._quadrature import quadrature
from ._tridiagonal import ritz, Tridiagonal, tridiagonalise


class Deflated(eqx.Module):
    """Counts the eigenvalues that one Lanczos iteration has found, and estimates the others.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Deflated, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(20.0) ** 4))
    spectrum = Deflated(order=5, deflation_order=10)(matrix, key=jax.random.key(0))
    spectrum.values[spectrum.known]  # the outliers that were found individually
    ```

    A random vector counts r eigenvalues with a relative standard deviation of sqrt(2 / r). So a few
    outliers, which matter most, have the largest relative error. But Lanczos finds their
    eigenvectors first. This estimator removes every Ritz pair of a first iteration whose residual
    is small, and runs the random vectors in the orthogonal complement.

    **Arguments:**

    - `order`, `num_vectors`, `mesh`: as for `Lanczos`, in the complement. The vectors are uniform
        on its sphere. The first iteration runs on every device.
    - `deflation_order`: products of the first iteration, and the largest number of eigenvalues
        that it can count; by default the smaller of 100 and the dimension.
    - `accuracy`: a Ritz pair is removed if its residual is at most this times the largest Ritz
        value in magnitude. The residuals of all removed pairs widen the bounds of a count (see
        `DeflatedSpectrum`), so a larger value removes more pairs and gives weaker bounds.

    This takes memory for `2 * deflation_order` or `deflation_order + order` vectors, whichever is
    more.

    **Raises:** `ValueError` if an order or `num_vectors` is not a positive integer, if `accuracy`
    is not positive, and when called if an order is larger than `operator.dim`.
    """

    order: int | None = eqx.field(static=True, converter=as_int_or_none)
    num_vectors: int = eqx.field(static=True, converter=as_int)
    deflation_order: int | None = eqx.field(static=True, converter=as_int_or_none)
    accuracy: Float[Array, ""]
    mesh: Mesh | None = eqx.field(static=True)

    def __init__(
        self,
        *,
        order: Count | None = None,
        num_vectors: Count = 3,
        deflation_order: Count | None = None,
        accuracy: Real[Array, ""] | float = 1e-5,
        mesh: Mesh | None = None,
    ):
        check_above("accuracy", accuracy, 0.0)
        check_order("order", order)
        check_order("deflation_order", deflation_order)
        check_count("num_vectors", num_vectors)
        check_vector_mesh(mesh, "num_vectors", as_int(num_vectors))
        self.order = as_int_or_none(order)
        self.num_vectors = as_int(num_vectors)
        self.deflation_order = as_int_or_none(deflation_order)
        self.accuracy = jnp.asarray(accuracy, dtype=float)
        self.mesh = mesh

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> DeflatedSpectrum:
        """Estimates the spectrum of `operator`."""
        within = lambda name, order: order_within(name, order, operator.dim, default=100)
        orders = within("deflation_order", self.deflation_order), within("order", self.order)
        return _estimate(self, *orders, operator, key)


@jit_single_threaded
def _estimate(
    deflated: Deflated,
    deflation_order: int,
    order: int,
    operator: AbstractOperator,
    key: PRNGKeyArray,
) -> DeflatedSpectrum:
    dim, dtype = operator.dim, operator.dtype
    with jax.default_matmul_precision("highest"):
        product = scaled_product(operator)
        start = sphere_vector(key, BEFORE_VECTORS, dim, dtype)
        matrix, basis = tridiagonalise(
            product, start, deflation_order, key=key, index=BEFORE_VECTORS
        )
        pairs = ritz(matrix)
        scale = jnp.max(jnp.abs(pairs.values))
        known = pairs.residuals <= deflated.accuracy.astype(dtype) * scale
        # How many are known depends on the data, so the rows of the others are set to zero.
        vectors = jnp.where(known, pairs.vectors, 0).T @ basis
        left = dim - jnp.sum(known)
        # All residuals have the direction of the vector that leads out of the Krylov space.
        margin = jnp.linalg.norm(jnp.where(known, pairs.residuals, 0)) + matrix.tolerance

        def project(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
            return vector - (vectors @ vector) @ vectors

        def run(index: Int[Array, ""]) -> Tridiagonal:
            vector = project(project(sphere_vector(key, index, dim, dtype)))
            vector = jnp.where(left > 0, vector / jnp.linalg.norm(vector), 0)
            return tridiagonalise(
                product,
                vector,
                order,
                key=key,
                index=index,
                project=project,
                dimensions=left,
                exponent=matrix.exponent,
            )[0]

        rest = quadrature(
            over_vectors(run, jnp.arange(deflated.num_vectors), operator, deflated.mesh),
            jnp.ones(deflated.num_vectors, dtype),
            dim,
        )
    values, residuals, margin = (
        times_power(x, matrix.exponent) for x in (pairs.values, pairs.residuals, margin)
    )
    # If nothing is left, the rest has no eigenvalues: put its fillers among the known values.
    nodes = jnp.where(left > 0, rest.nodes, values[0])
    rest = eqx.tree_at(
        lambda r: (r.nodes, r.tolerance), rest, (nodes, jnp.maximum(rest.tolerance, margin))
    )
    return DeflatedSpectrum(
        values=values,
        known=known,
        residuals=residuals,
        margin=margin,
        rest=rest,
        dim=dim,
    )
