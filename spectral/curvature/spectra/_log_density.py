"""The density of the logarithms of the eigenvalues, smoothed for pictures."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above
from ._estimate import Estimate, over_vectors
from ._spectrum import AbstractSpectrum


def log_density(
    spectrum: AbstractSpectrum, grid: Float[Array, " points"], *, width: Real[ArrayLike, ""] = 0.1
) -> Estimate:
    """Smooths the distribution of log10 |eigenvalue| with a Gaussian kernel. Use this only for
    pictures.

    On a linear scale, `density` shows either the bulk or the outliers of a curvature matrix, whose
    eigenvalues spread over many decades. Like it, this must not be integrated to count: the
    quadrature of Lanczos puts few nodes into a decade that lies far below the largest eigenvalue.
    `epsilon_rank` counts.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Lanczos, log_density, Matrix

    matrix = Matrix(jnp.diag(10.0 ** jnp.arange(-3, 3)))
    spectrum = Lanczos()(matrix, key=jax.random.key(0))
    curve = log_density(spectrum, jnp.logspace(-4, 3, 100))
    curve.value, curve.sem  # [100], [100]
    ```

    **Arguments:**

    - `spectrum`: the result of an estimator.
    - `grid`: points above 0 at which to evaluate the density, in the units of an eigenvalue.
    - `width`: the standard deviation of the kernel, in decades.

    **Returns:** an `Estimate` with the mean density over vectors at each point, in eigenvalues per
    decade as a fraction of all, and its standard error. The integral over log10 of the grid is the
    fraction of the eigenvalues that are not 0. The sign does not matter.

    **Raises:** `ValueError` if `width` or a point of the grid is not positive and finite.
    """
    check_above("width", width, 0)
    check_above("grid", grid, 0)

    def at(point: Float[Array, ""]) -> Estimate:
        # The quotient is the same in all units. A node of 0 lies at -inf, where the kernel is 0.
        def kernel(nodes: Float[Array, " nodes"]) -> Float[Array, " nodes"]:
            return jax.scipy.stats.norm.pdf(jnp.log10(jnp.abs(nodes) / point) / width)

        return over_vectors(spectrum, lambda mean: mean / width, spectrum.mean(kernel))

    return jax.lax.map(at, grid)
