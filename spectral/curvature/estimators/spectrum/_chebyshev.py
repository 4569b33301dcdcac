"""The kernel polynomial method."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import as_int, as_int_or_none, check_count
from ...._base._scaling import times_power
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._spectrum import Spectrum
from .._over_vectors import check_vector_mesh, over_vectors
from .._units import scaled_product
from .._vectors import (
    AbstractVectorDistribution,
    BEFORE_VECTORS,
    Sphere,
    sphere_vector,
    vector_key,
)
from ._order import check_order, order_within
from ._tridiagonal import ritz, tridiagonalise


class Chebyshev(eqx.Module):
    """Estimates a spectrum from its Chebyshev moments (the kernel polynomial method).

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Chebyshev, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Chebyshev(order=100)(matrix, key=jax.random.key(0))
    nodes, weights = spectrum.quadrature()  # [3, 200] each, for `density`
    ```

    After a first iteration that finds the range, this holds three vectors in memory, where
    `Lanczos` holds `order` of them, and the nodes are the same for all random vectors. The price is
    resolution: an eigenvalue is spread over about pi / (2 order) of half the *whole* range, which
    includes the outliers, while Lanczos resolves the range between the outliers. Nothing rigorous
    is known about the error, so the bounds of a rank are 0 and dim.

    **Arguments:**

    - `order`: products with the matrix for each random vector. Each product gives two moments. The
        order may exceed the dimension.
    - `num_vectors`, `distribution`, `mesh`: as for `Lanczos`. Every device finds the range.
    - `range_order`: products of a first Lanczos iteration that finds the range, in memory of
        `range_order * dim` numbers; by default the smaller of 20 and the dimension. The interval
        extends beyond the extreme Ritz values by their residuals (Zhou and Li 2011).

    The nodes are the points of Gauss-Chebyshev quadrature in that interval. `range()` gives its
    ends, up to one part in order^2. The weights are moments damped by Jackson's kernel, which keeps
    them non-negative. An eigenvalue outside the interval would make the moments larger than those
    of any distribution inside it; in that case the spectrum is NaN. See Weisse et al. (2006),
    sections II.B and II.C.

    **Raises:** `ValueError` if an order or `num_vectors` is not a positive integer, and when called
    if `range_order` is larger than `operator.dim`.
    """

    _: KW_ONLY
    order: int = eqx.field(static=True, default=100, converter=as_int)
    num_vectors: int = eqx.field(static=True, default=3, converter=as_int)
    range_order: int | None = eqx.field(static=True, default=None, converter=as_int_or_none)
    distribution: AbstractVectorDistribution = Sphere()
    mesh: Mesh | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_count("order", self.order)
        check_count("num_vectors", self.num_vectors)
        check_vector_mesh(self.mesh, "num_vectors", self.num_vectors)
        check_order("range_order", self.range_order)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Estimates the spectrum; vector i is `distribution(..., key=vector_key(key, i))`."""
        range_order = order_within("range_order", self.range_order, operator.dim, default=20)
        return _estimate(self, range_order, operator, key)


@jit_single_threaded
def _estimate(
    chebyshev: Chebyshev, range_order: int, operator: AbstractOperator, key: PRNGKeyArray
) -> Spectrum:
    dim, dtype = operator.dim, operator.dtype
    with jax.default_matmul_precision("highest"):
        product = scaled_product(operator)
        start = sphere_vector(key, BEFORE_VECTORS, dim, dtype)
        matrix, _ = tridiagonalise(product, start, range_order, key=key, index=BEFORE_VECTORS)
        pairs = ritz(matrix)
        # All of this is in units of 2^exponent. Rounding must not put the spectrum of a multiple of
        # the identity outside its interval. The errors of the products add up along the recurrence
        # like a random walk.
        margin = 3 * chebyshev.order**0.5 * matrix.tolerance + jnp.finfo(dtype).tiny ** 0.5
        low = pairs.values[0] - pairs.residuals[0] - margin
        high = pairs.values[-1] + pairs.residuals[-1] + margin
        centre, half = (high + low) / 2, (high - low) / 2

        def scaled(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
            return (product(vector, matrix.exponent) - centre * vector) / half

        def moments(index: Int[Array, ""]) -> Float[Array, " moments"]:
            def step(carry, first: Bool[Array, ""]):
                before, now = carry  # T_{k-1} v and T_k v, of the scaled matrix
                after = jnp.where(first, 1, 2) * scaled(now) - before
                return (now, after), (now @ now, now @ after)

            vector = chebyshev.distribution(dim, dtype, key=vector_key(key, index))
            first = jnp.arange(chebyshev.order) == 0
            # T_2k = 2 T_k^2 - 1 and T_2k+1 = 2 T_k T_k+1 - T_1: two moments from each product.
            products = jnp.stack(
                jax.lax.scan(step, (jnp.zeros_like(vector), vector), first)[1], axis=1
            )
            return (2 * products - products[:1]).ravel()

        indices = jnp.arange(chebyshev.num_vectors)
        moment = over_vectors(moments, indices, operator, chebyshev.mesh)
        points, weights = _damped(moment)
    # No moment of a distribution in the interval is larger than its mass.
    inside = jnp.all(jnp.abs(moment) <= 1.01 * moment[:, :1], axis=1)
    nodes = jnp.where(inside[:, None], centre + half * points, jnp.nan)
    nodes = times_power(nodes, matrix.exponent)
    return Spectrum(
        nodes=nodes,
        weights=weights,
        residuals=jnp.full_like(nodes, jnp.inf),
        diagonal=nodes,
        off_diagonal=jnp.zeros_like(nodes[:, 1:]),
        exhausted=jnp.zeros_like(inside),
        tolerance=jnp.full_like(nodes[:, 0], times_power(matrix.tolerance, matrix.exponent)),
        dim=dim,
        gauss=False,
    )


def _damped(
    moments: Float[Array, "vectors moments"],
) -> tuple[Float[Array, " moments"], Float[Array, "vectors moments"]]:
    """Quadrature in [-1, 1] with the given moments, times Jackson's factors."""
    size = moments.shape[1]
    k, step = jnp.arange(size), jnp.pi / (size + 1)
    turning = jnp.sin(k * step) / jnp.tan(step)
    factors = ((size - k + 1) * jnp.cos(k * step) + turning) / (size + 1)
    # Multiples of 2 pi are removed in integer arithmetic, where this is exact.
    turns = jnp.outer(2 * jnp.arange(size)[::-1] + 1, k) % (4 * size)
    cosines = jnp.cos(turns * (jnp.pi / (2 * size)))  # T_k at node j, ascending
    coefficients = factors * jnp.where(k == 0, 1, 2) / size
    # Damped moments have positive sums, so negative ones are rounding.
    weights = jnp.maximum((moments * coefficients[None]) @ cosines.T, 0)
    scale = moments[:, :1] / jnp.sum(weights, axis=1, keepdims=True)
    return cosines[:, 1], weights * scale
