"""The published estimator of the normalised epsilon-rank, for comparison."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above
from ._density import density
from ._spectrum import AbstractSpectrum


_POINTS = 10_000
_MARGIN = 0.01  # how far the grid extends beyond the outermost nodes
_VARIANCE = 1e-5  # of the kernel, per unit of range


def smoothed_density_mass(
    spectrum: AbstractSpectrum, epsilon: Real[ArrayLike, ""]
) -> Float[Array, ""]:
    """The integral of a smoothed density over |eigenvalue| > epsilon, as in published figures.

    Use this only to compare with the "normalised epsilon-rank" of He et al.; `epsilon_rank` counts.
    The density is smoothed with a Gaussian of *variance* 1e-5 max(1, range), on 10,000 equally
    spaced points from the smallest to the largest node, and normalised there. The trapezoid rule
    runs over the points beyond epsilon. It also bridges the gap between -epsilon and epsilon.

    Once the range reaches 1000, kernel and grid are as coarse as epsilon = 0.1. For example, let a
    matrix have 200,000 eigenvalues, of which 11 are nonzero and beyond 0.1, a fraction of 0.00006.
    This function then returns 0.01, 0.2, 0.6 and 1 for ranges of 100, 300, 1000 and 10,000: it
    measures the range.

    The published figures used one vector. With several vectors, the mean density is used.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Lanczos, Matrix, smoothed_density_mass

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    smoothed_density_mass(spectrum, 0.1)  # a fraction of all eigenvalues
    ```

    **Raises:** `ValueError` if `epsilon` is not positive and finite.
    """
    check_above("epsilon", epsilon, 0.0)
    epsilon = jnp.asarray(epsilon)
    smallest, largest = spectrum.range()
    grid = jnp.linspace(smallest - _MARGIN, largest + _MARGIN, _POINTS)
    known = jnp.isfinite(largest - smallest)
    width = jnp.sqrt(_VARIANCE * jnp.maximum(1, jnp.where(known, largest - smallest, 1)))
    curve = density(spectrum, grid, width=width)
    curve = curve / (jnp.sum(curve) * (grid[1] - grid[0]))
    # The intervals between neighbouring points on one side, and the interval across the gap.
    left, right = grid < -epsilon, grid > epsilon
    both = (left[:-1] & left[1:]) | (right[:-1] & right[1:])
    sides = jnp.sum(jnp.where(both, (curve[:-1] + curve[1:]) / 2 * (grid[1:] - grid[:-1]), 0))
    last, first = jnp.sum(left) - 1, _POINTS - jnp.sum(right)
    bridged = (last >= 0) & (first < _POINTS)
    last, first = jnp.maximum(last, 0), jnp.minimum(first, _POINTS - 1)
    bridge = (curve[last] + curve[first]) / 2 * (grid[first] - grid[last])
    # Comparisons with NaN are false, so a matrix of NaN would seem to have no mass.
    return jnp.where(known, sides + jnp.where(bridged, bridge, 0), jnp.nan)
