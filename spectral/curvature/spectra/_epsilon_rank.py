"""How many eigenvalues are larger than epsilon in magnitude."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import check_above
from ._estimate import probe_error
from ._extremes import largest_magnitude
from ._spectrum import AbstractSpectrum


class RankEstimate(eqx.Module):
    """A number of eigenvalues, and what is known about its error.

    All but `resolved` are counts, or shares of all eigenvalues where that was asked for.
    """

    value: Float[Array, ""]
    # What the nodes leave open about the measures of these probes: bias, which more probes do not
    # reduce.
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    sem: Float[Array, ""]  # standard error over probes; NaN for a single one, 0 if exact
    resolved: Bool[Array, ""]  # upper - lower is at most a tenth of dim


def epsilon_rank(
    spectrum: AbstractSpectrum,
    epsilon: Real[ArrayLike, ""],
    *,
    relative: bool = False,
    normalised: bool = False,
) -> RankEstimate:
    """Estimate the number of eigenvalues with magnitude above `epsilon`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    rank = epsilon_rank(spectrum, 0.5)
    share = epsilon_rank(spectrum, 0.01, relative=True, normalised=True)
    curve = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, jnp.logspace(-2, 1, 20))
    ```

    **Arguments:**

    - `spectrum`: what an estimator returned.
    - `epsilon`: a positive threshold, in the units of an eigenvalue. The count is well defined
        where it lies in a gap of the spectrum. The whole curve from epsilon to rank costs no
        product with the matrix: `jax.vmap` over epsilon, as above.
    - `relative`: take `epsilon` times the largest |eigenvalue| that was seen as the threshold.
    - `normalised`: divide by dim: the share of all eigenvalues.

    **Returns:** a `RankEstimate`:

    - `value`: dim times the weight of the nodes beyond `epsilon`, averaged over probes.
    - `lower`, `upper`: dim times rigorous bounds for the weight that the measure of each probe has
        beyond `epsilon`, averaged over probes (see `Spectrum`).
    - `sem`: the standard error of `value` over probes, which knows nothing of the bias that the
        bounds show; 0 for a spectrum that is known exactly. A 95 % interval is `value` plus or
        minus `sem` times the quantile of Student's t with probes - 1 degrees of freedom.
    - `resolved`: whether `upper - lower` is at most a tenth of `spectrum.dim`. Then the share of
        eigenvalues beyond `epsilon` is known to a tenth, but for the standard error; where it is
        not, `epsilon` lies below what the order can resolve: raise one of the two; more probes do
        not help. A tenth of all is much more than a small rank: for that look at the bracket.

    **Raises:** `ValueError` if `epsilon` is not positive and finite.
    """
    check_above("epsilon", epsilon, 0.0)
    threshold = jnp.asarray(epsilon) * (largest_magnitude(spectrum) if relative else 1)
    above, below = spectrum.mass_above(threshold), spectrum.mass_below(-threshold)
    value = above.value + below.value
    lower = jnp.mean(above.lower + below.lower)
    # No more than everything, unless rounding says that the value is.
    everything = jnp.maximum(value, spectrum.mean(jnp.ones_like))
    upper = jnp.mean(jnp.minimum(above.upper + below.upper, everything))
    whole = 1 if normalised else spectrum.dim
    return RankEstimate(
        value=whole * jnp.mean(value),
        lower=whole * lower,
        upper=whole * upper,
        sem=whole * probe_error(spectrum, value),
        resolved=upper - lower <= 0.1,
    )
