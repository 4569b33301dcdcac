"""The ends of a spectrum."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._arguments import as_int, check_count, Count
from ..._base._readable import readable
from ._spectrum import AbstractSpectrum


class Extremes(eqx.Module):
    """Eigenvalues from both ends of a spectrum, the outermost first."""

    largest: Float[Array, " count"]  # descending
    largest_residuals: Float[Array, " count"]  # an eigenvalue lies within it of the value
    smallest: Float[Array, " count"]  # ascending
    smallest_residuals: Float[Array, " count"]

    __repr__ = readable


def extremes(spectrum: AbstractSpectrum, *, count: Count = 1) -> Extremes:
    """The `count` largest and the `count` smallest eigenvalues, with their residuals.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import extremes, Lanczos, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    extremes(spectrum, count=2).largest  # about 81 and 64
    ```

    The k-th largest Ritz value of a vector is at most the k-th largest eigenvalue (Cauchy
    interlacing; Parlett 1998, section 10.1). So this returns the largest one over the vectors, with
    its residual. Some eigenvalue, not necessarily the k-th, lies within the residual. A converged
    value has a residual near `spectrum.tolerance`. The eigenvalues that `Deflated` has found
    individually are included. If all eigenvalues are known with their multiplicities (`Dense`,
    `GramEigh`, `KroneckerEigh`), this returns the eigenvalues themselves. `Chebyshev` knows only
    the ends of its interval, and their residuals are infinite. `Lanczos` without orthogonalisation
    finds the same eigenvalue again, so it knows the outermost one at each end. For eigenvectors see
    `extreme_eigenpairs`.

    **Raises:** `ValueError` unless `count` is between 1 and the number of nodes of a vector (the
    dimension, if all eigenvalues are known; 1 for `Chebyshev` and for `NoOrthogonalisation`).
    """
    check_count("count", count)
    if count > spectrum.resolved:
        raise ValueError(
            f"`count` is {count}, but must be at most {spectrum.resolved}, the eigenvalues that "
            "are known: ask for fewer, or use a higher order, another estimator, or "
            "`orthogonalisation=Full()` for `Lanczos`."
        )
    size: int = as_int(count)
    return Extremes(*spectrum.outermost(size, "largest"), *spectrum.outermost(size, "smallest"))


def largest_magnitude(spectrum: AbstractSpectrum) -> Float[Array, ""]:
    """The largest |eigenvalue| that was found, which is at most the norm of the matrix."""
    return jnp.max(jnp.abs(jnp.stack(spectrum.range())))
