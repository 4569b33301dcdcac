"""The ends of a spectrum."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arguments import check_count
from ._spectrum import AbstractSpectrum, Spectrum


class Extremes(eqx.Module):
    """Eigenvalues from both ends of a spectrum, the outermost first."""

    largest: Float[Array, " count"]  # descending
    largest_residuals: Float[Array, " count"]  # an eigenvalue lies within it of the value
    least: Float[Array, " count"]  # ascending
    least_residuals: Float[Array, " count"]


def extremes(spectrum: Spectrum, count: int = 1) -> Extremes:
    """The `count` largest and the `count` least eigenvalues, and how well each is known.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import extremes, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    extremes(spectrum, 2).largest  # about 81 and 64
    ```

    The k-th largest Ritz value of a probe is at most the k-th largest eigenvalue (Cauchy
    interlacing; Parlett 1998, section 10.1), so the greatest one over the probes is taken, with its
    residual: some eigenvalue, not necessarily the k-th, lies within it. A converged value has a
    residual near `spectrum.tolerance`. For eigenvectors see `extreme_eigenpairs`.

    **Raises:** `ValueError` if `count` is not between 1 and the nodes of a probe.
    """
    check_count("count", count)
    order = spectrum.nodes.shape[1]
    if count > order:
        raise ValueError(
            f"`count` is {count}, but must be at most {order}, the nodes of the spectrum: ask for "
            "fewer, or raise the order of the estimator."
        )

    def outermost(nodes: Float[Array, "probes order"], residuals: Float[Array, "probes order"]):
        best = jnp.argmax(nodes[:, :count], axis=0)  # NaN, where there is one
        return nodes[best, jnp.arange(count)], residuals[best, jnp.arange(count)]

    largest, largest_residuals = outermost(spectrum.nodes[:, ::-1], spectrum.residuals[:, ::-1])
    least, least_residuals = outermost(-spectrum.nodes, spectrum.residuals)
    return Extremes(largest, largest_residuals, -least, least_residuals)


def largest_magnitude(spectrum: AbstractSpectrum) -> Float[Array, ""]:
    """The largest |eigenvalue| that was seen: at most the norm of the matrix."""
    return jnp.max(jnp.abs(jnp.stack(spectrum.range())))
