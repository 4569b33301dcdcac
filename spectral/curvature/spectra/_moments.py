"""Trace, norm, log-determinant and effective dimensions of a matrix whose spectrum is known."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above
from ..._base._scaling import exponent_of, times_power
from ._estimate import Estimate, over_vectors
from ._extremes import largest_magnitude
from ._spectrum import AbstractSpectrum


def trace(spectrum: AbstractSpectrum) -> Estimate:
    """The sum of the eigenvalues, in their units.

    If only the trace is needed, `XTrace` takes fewer products with the matrix.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Lanczos, Matrix, trace

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    trace(spectrum)  # value about 285, with its standard error
    ```
    """
    # In units of a power of two, because weight times eigenvalue may underflow.
    exponent = exponent_of(largest_magnitude(spectrum))
    mean = spectrum.mean(lambda x: times_power(x, -exponent))
    return over_vectors(spectrum, lambda mean: spectrum.dim * times_power(mean, exponent), mean)


def frobenius_norm(spectrum: AbstractSpectrum) -> Estimate:
    """The root of the sum of the squared eigenvalues, in their units."""
    scale = _scale(spectrum)

    def norm(mean: Float[Array, ""]) -> Float[Array, ""]:
        # The slope of the root at 0 is infinite.
        known = jnp.where(mean > 0, mean, 1)
        return jnp.where(mean > 0, scale * jnp.sqrt(spectrum.dim * known), spectrum.dim * mean)

    return over_vectors(spectrum, norm, spectrum.mean(lambda x: (x / scale) ** 2))


def spectral_stable_rank(spectrum: AbstractSpectrum) -> Estimate:
    """||A||_F^2 / ||A||_2^2: between 1 and the rank; 0 for a matrix of zeros.

    The norm is the largest |eigenvalue| that was found, which is at most the true one. If it has
    not converged, the result is too large, and the standard error does not include this. This is
    not the stable rank of features (`spectral.models.feature_stable_rank`), nor the quantity that
    some papers call by this name (`spectral.models.srank99`).
    """
    scale = _scale(spectrum)
    return over_vectors(
        spectrum, lambda mean: spectrum.dim * mean, spectrum.mean(lambda x: (x / scale) ** 2)
    )


def spectral_effective_rank(spectrum: AbstractSpectrum) -> Estimate:
    """exp(entropy of p), with p the |eigenvalues| divided by their sum; 0 for a matrix of zeros.

    It lies between 1 and the rank (Roy and Vetterli 2007). It uses all eigenvalues of a curvature
    matrix with their weights. The effective rank of the Ritz values of a Lanczos run would be
    something else, and at most the order. The effective rank of features is
    `spectral.models.feature_effective_rank`.
    """
    scale = _scale(spectrum)

    def rank(absolute: Float[Array, ""], logarithm: Float[Array, ""]) -> Float[Array, ""]:
        # With y the |eigenvalues| and S their sum: -sum (y/S) log (y/S) = log S - sum(y log y)/S.
        ratio = logarithm / jnp.where(absolute > 0, absolute, 1)
        return spectrum.dim * absolute * jnp.exp(-ratio)

    def y_log_y(x: Float[Array, " nodes"]) -> Float[Array, " nodes"]:
        y = jnp.abs(x) / scale
        return y * jnp.log(jnp.where(y > 0, y, 1))

    return over_vectors(
        spectrum, rank, spectrum.mean(lambda x: jnp.abs(x) / scale), spectrum.mean(y_log_y)
    )


def log_det(spectrum: AbstractSpectrum, *, damping: Real[ArrayLike, ""] = 0.0) -> Estimate:
    """log |det (A + damping I)|: the sum of log |eigenvalue + damping|, in nats.

    An eigenvalue of at most 10 eps times the largest in magnitude cannot be distinguished from 0
    and counts as 0. So the result for a singular matrix without damping is -inf (with a standard
    error of NaN) and not the logarithm of a rounding error.

    **Raises:** `ValueError` if `damping` is negative or not finite.
    """
    check_above("damping", damping, 0, strict=False)

    def log(x: Float[Array, " nodes"]) -> Float[Array, " nodes"]:
        return jnp.log(jnp.abs(_without_rounding(x, spectrum) + damping))

    return over_vectors(spectrum, lambda mean: spectrum.dim * mean, spectrum.mean(log))


def condition_number(
    spectrum: AbstractSpectrum, *, damping: Real[ArrayLike, ""] = 0.0
) -> Float[Array, ""]:
    """The largest |eigenvalue + damping| over the smallest, of those that were found.

    If the damped matrix is positive definite, this is a lower bound, because the nodes of Lanczos
    lie inside the spectrum. If it is indefinite, a node may lie in a gap around 0, and the result
    says little. It is not a mean over vectors and has no standard error. It is infinite for a
    matrix that is singular up to rounding, as in `log_det`.

    **Raises:** `ValueError` if `damping` is negative or not finite.
    """
    check_above("damping", damping, 0, strict=False)
    nodes, weights = spectrum.quadrature()
    ends = jnp.stack(spectrum.range())
    magnitudes = jnp.abs(_without_rounding(ends, spectrum) + damping)
    inside = jnp.abs(_without_rounding(nodes, spectrum) + damping)
    smallest = jnp.minimum(jnp.min(magnitudes), jnp.min(jnp.where(weights > 0, inside, jnp.inf)))
    ratio = jnp.where(
        smallest == 0, jnp.inf, jnp.max(magnitudes) / jnp.where(smallest == 0, 1, smallest)
    )
    return jnp.where(jnp.all(jnp.isfinite(ends)), ratio, jnp.nan)


def _scale(spectrum: AbstractSpectrum) -> Float[Array, ""]:
    """A divisor that keeps squares of eigenvalues from overflowing."""
    largest = largest_magnitude(spectrum)
    return jnp.where(largest == 0, 1, largest)


def _without_rounding(
    x: Float[Array, "*nodes"], spectrum: AbstractSpectrum
) -> Float[Array, "*nodes"]:
    rounding = 10 * jnp.finfo(x.dtype).eps * largest_magnitude(spectrum)
    return jnp.where(jnp.abs(x) <= rounding, 0, x)
