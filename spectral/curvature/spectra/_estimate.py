"""An estimate with its standard error."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._readable import readable
from ..._base._scaling import exponent_of, times_power
from ._spectrum import AbstractSpectrum


Samples = Float[Array, "samples *shape"]  # noqa: F821 (ruff reads a product of two names)


class Estimate(eqx.Module):
    """An estimate and its standard error: numbers, or pytrees of arrays of one structure.

    The standard error is the standard deviation that the estimate would have over new random
    vectors. It does not include a bias. It is NaN for a single random vector, and 0 if the answer
    is known without random vectors. A 95 % interval is `value` plus or minus `sem` times the
    quantile of Student's t with `num_vectors - 1` degrees of freedom.
    """

    value: PyTree[Float[Array, "..."]]
    sem: PyTree[Float[Array, "..."]]

    __repr__ = readable


def standard_error(samples: Samples) -> Float[Array, "*shape"]:
    """The standard error of the mean over the leading axis; NaN for a single sample."""
    count = samples.shape[0]
    if count == 1:
        return jnp.full_like(samples[0], jnp.nan)
    exponent = exponent_of(samples, axis=0)
    scaled = times_power(samples, -jnp.expand_dims(exponent, 0))
    return times_power(jnp.std(scaled, axis=0, ddof=1) / count**0.5, exponent)


def error_over_vectors(
    spectrum: AbstractSpectrum, answers: Float[Array, " vectors"]
) -> Float[Array, ""]:
    """The standard error of the mean of the answers of each vector of a spectrum.

    It is 0 if the spectrum is known exactly, unless the answer is NaN.
    """
    if spectrum.exact:
        return jnp.where(jnp.isnan(answers[0]), jnp.nan, jnp.zeros_like(answers[0]))
    return standard_error(answers)


def over_vectors(
    spectrum: AbstractSpectrum,
    function: Callable[..., Float[Array, ""]],
    *means: Float[Array, " vectors"],
) -> Estimate:
    """A smooth function of means over all eigenvalues of a spectrum.

    Each of the `means` has one value for each vector. The standard error is that of the function
    linearised at the averages over vectors (the delta method).
    """
    centres = [jnp.mean(m) for m in means]
    gradient = jax.grad(function, argnums=tuple(range(len(means))))(*centres)
    deviations = zip(gradient, means, centres, strict=True)
    influence = sum(g * (m - c) for g, m, c in deviations)
    return Estimate(
        value=function(*centres), sem=error_over_vectors(spectrum, jnp.asarray(influence))
    )
