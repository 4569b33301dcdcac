"""How many eigenvalues are larger than epsilon in magnitude."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .._arguments import check_above
from ._spectrum import AbstractSpectrum


class RankEstimate(eqx.Module):
    """A number of eigenvalues, and what is known about its error. All but `resolved` are counts."""

    value: Float[Array, ""]
    # What the nodes leave open about the measures of these probes: bias, which more probes do not
    # reduce.
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    sem: Float[Array, ""]  # standard error over probes; NaN for a single one
    resolved: Bool[Array, ""]  # upper - lower is at most a tenth of dim


def epsilon_rank(spectrum: AbstractSpectrum, epsilon: Real[ArrayLike, ""]) -> RankEstimate:
    """Estimate the number of eigenvalues with magnitude above `epsilon`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    rank = epsilon_rank(spectrum, 0.5)
    fraction = rank.value / spectrum.dim
    curve = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, jnp.logspace(-2, 1, 20))
    ```

    **Arguments:**

    - `spectrum`: what an estimator returned.
    - `epsilon`: a positive threshold, in the units of an eigenvalue. The count is well defined
        where it lies in a gap of the spectrum.

    **Returns:** a `RankEstimate`:

    - `value`: dim times the weight of the nodes beyond `epsilon`, averaged over probes. Whole
        matrices only: the sum of all weights is dim.
    - `lower`, `upper`: dim times rigorous bounds for the weight that the measure of each probe has
        beyond `epsilon`, averaged over probes (see `Spectrum`).
    - `sem`: the standard error of `value` over probes, which knows nothing of the bias that the
        bounds show. A 95 % interval is `value` plus or minus `sem` times the quantile of Student's
        t with probes - 1 degrees of freedom.
    - `resolved`: whether `upper - lower` is at most a tenth of `spectrum.dim`. Where it is not,
        raise the order of the estimator or `epsilon`; more probes do not help.

    **Raises:** `ValueError` if `epsilon` is not positive and finite.
    """
    check_above("epsilon", epsilon, 0.0)
    above, below = spectrum.mass_above(epsilon), spectrum.mass_below(-jnp.asarray(epsilon))
    value = above.value + below.value
    probes = value.shape[0]
    sem = jnp.std(value, ddof=1) / probes**0.5 if probes > 1 else jnp.full_like(value[0], jnp.nan)
    lower = jnp.mean(above.lower + below.lower)
    # No more than everything, unless rounding says that the value is.
    upper = jnp.mean(jnp.minimum(above.upper + below.upper, jnp.maximum(value, 1)))
    return RankEstimate(
        value=spectrum.dim * jnp.mean(value),
        lower=spectrum.dim * lower,
        upper=spectrum.dim * upper,
        sem=spectrum.dim * sem,
        resolved=upper - lower <= 0.1,
    )
