"""The spectral density, smoothed for pictures."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above
from ._spectrum import AbstractSpectrum


_POINTS = 256  # of the grid at once: more take memory without a gain in speed


def density(
    spectrum: AbstractSpectrum, grid: Float[Array, " points"], *, width: Real[ArrayLike, ""]
) -> Float[Array, " points"]:
    """Smooths a spectrum with a Gaussian kernel. Use this only for pictures.

    Never integrate the density to count eigenvalues. Mass that belongs at zero is spread over
    `width`; once that is near epsilon, the count measures the width. `epsilon_rank` counts.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import density, Lanczos, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    curve = density(spectrum, jnp.linspace(-5.0, 90.0, 500), width=1.0)  # [500]
    ```

    **Arguments:**

    - `spectrum`: the result of an estimator.
    - `grid`: points at which to evaluate the density, in the units of an eigenvalue.
    - `width`: the standard deviation (not the variance) of the kernel, in the same units.

    **Returns:** the mean density over vectors at each point of the grid, per unit of eigenvalue.
    Its integral over the whole line is 1.

    **Raises:** `ValueError` if `width` is not positive and finite.
    """
    check_above("width", width, 0.0)

    def at(point: Float[Array, ""]) -> Float[Array, ""]:
        # The square of the width itself may leave the range of the dtype.
        kernel = lambda nodes: jax.scipy.stats.norm.pdf((point - nodes) / width)
        return jnp.mean(spectrum.mean(kernel)) / width

    return jax.lax.map(at, grid, batch_size=min(grid.size, _POINTS))
