"""The ends of a spectrum."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._arguments import check_count
from ._spectrum import AbstractSpectrum


class Extremes(eqx.Module):
    """Eigenvalues from both ends of a spectrum, the outermost first."""

    largest: Float[Array, " count"]  # descending
    largest_residuals: Float[Array, " count"]  # an eigenvalue lies within it of the value
    smallest: Float[Array, " count"]  # ascending
    smallest_residuals: Float[Array, " count"]


def extremes(spectrum: AbstractSpectrum, *, count: int = 1) -> Extremes:
    """The `count` largest and the `count` smallest eigenvalues, and how well each is known.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import extremes, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    extremes(spectrum, 2).largest  # about 81 and 64
    ```

    The k-th largest Ritz value of a vector is at most the k-th largest eigenvalue (Cauchy
    interlacing; Parlett 1998, section 10.1), so the greatest one over the vectors is taken, with
    its residual: some eigenvalue, not necessarily the k-th, lies within it. A converged value has a
    residual near `spectrum.tolerance`. Eigenvalues that `Deflated` has counted come before those of
    its vectors where they lie further out. Where all eigenvalues are known with their
    multiplicities (`Dense`, `GramEigh`, `KroneckerEigh`), these are the eigenvalues themselves.
    `Chebyshev` knows none but the ends of its interval, whose residuals are infinite. For
    eigenvectors see `extreme_eigenpairs`.

    **Raises:** `ValueError` if `count` is not between 1 and the nodes of a vector (the dimension,
    where all eigenvalues are known; 1 for `Chebyshev`).
    """
    check_count("count", count)
    if count > spectrum.resolved:
        raise ValueError(
            f"`count` is {count}, but must be at most {spectrum.resolved}, the eigenvalues that "
            "are known: ask for fewer, or take a higher order or another estimator."
        )
    return Extremes(*spectrum.outermost(count, "largest"), *spectrum.outermost(count, "smallest"))


def largest_magnitude(spectrum: AbstractSpectrum) -> Float[Array, ""]:
    """The largest |eigenvalue| that was seen: at most the norm of the matrix."""
    return jnp.max(jnp.abs(jnp.stack(spectrum.range())))
