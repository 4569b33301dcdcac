"""A number with its standard error."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._spectrum import AbstractSpectrum


Samples = Float[Array, "samples *shape"]  # noqa: F821 (ruff reads a product of two names)


class Estimate(eqx.Module):
    """An estimate and its standard error: numbers, or pytrees of arrays of one structure.

    The standard error is the standard deviation that the estimate would have over new random
    vectors. It knows nothing of a bias, and is NaN where there was one random vector only, and 0
    where there was none because the answer is known. A 95 % interval is `value` plus or minus `sem`
    times the quantile of Student's t with as many degrees of freedom as there were vectors, less
    one.
    """

    value: PyTree[Float[Array, "..."]]
    sem: PyTree[Float[Array, "..."]]


def standard_error(samples: Samples) -> Float[Array, "*shape"]:
    """The standard error of the mean over the leading axis; NaN for a single sample."""
    count = samples.shape[0]
    if count == 1:
        return jnp.full_like(samples[0], jnp.nan)
    return jnp.std(samples, axis=0, ddof=1) / count**0.5


def error_over_vectors(
    spectrum: AbstractSpectrum, answers: Float[Array, " vectors"]
) -> Float[Array, ""]:
    """The standard error of the mean of what each vector of a spectrum answers: 0 for one that is
    known exactly, unless the answer is not a number."""
    if spectrum.exact:
        return jnp.where(jnp.isnan(answers[0]), jnp.nan, jnp.zeros_like(answers[0]))
    return standard_error(answers)


def over_vectors(
    spectrum: AbstractSpectrum,
    function: Callable[..., Float[Array, ""]],
    *means: Float[Array, " vectors"],
) -> Estimate:
    """A smooth function of means over all eigenvalues of a spectrum, one for each of its vectors.

    The standard error is that of the function linearised at the averages (the delta method).
    """
    centres = [jnp.mean(m) for m in means]
    gradient = jax.grad(function, argnums=tuple(range(len(means))))(*centres)
    deviations = zip(gradient, means, centres, strict=True)
    influence = sum(g * (m - c) for g, m, c in deviations)
    return Estimate(
        value=function(*centres), sem=error_over_vectors(spectrum, jnp.asarray(influence))
    )
