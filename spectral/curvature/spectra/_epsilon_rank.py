"""How many eigenvalues are larger than epsilon in magnitude."""

import equinox as eqx
import jax.numpy as jnp
import scipy.stats
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import check_above
from ..._base._readable import readable
from ._estimate import error_over_vectors, Estimate
from ._extremes import largest_magnitude
from ._spectrum import AbstractSpectrum


class RankEstimate(eqx.Module):
    """The number of eigenvalues beyond a threshold, and what is known about its error.

    All fields except `resolved` are counts, or fractions of all eigenvalues if
    `normalised_epsilon_rank` returns them.
    """

    value: Float[Array, ""]
    # A 95 % interval for the count, from the bracket and the noise of both of its ends.
    low: Float[Array, ""]
    high: Float[Array, ""]
    resolved: Bool[Array, ""]  # upper - lower is at most a tenth of dim
    # What the nodes leave open about the measures of these vectors. This is a bias, which more
    # vectors do not reduce.
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    # Standard errors over vectors: NaN for a single one, 0 if exact.
    sem: Float[Array, ""]
    lower_sem: Float[Array, ""]
    upper_sem: Float[Array, ""]

    __repr__ = readable


def epsilon_rank(
    spectrum: AbstractSpectrum,
    epsilon: Real[ArrayLike, ""],
    *,
    relative: bool = False,
) -> RankEstimate:
    """Estimates the number of eigenvalues with magnitude above `epsilon`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Lanczos, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    rank = epsilon_rank(spectrum, 0.5)
    ```

    **Arguments:**

    - `spectrum`: the result of an estimator.
    - `epsilon`: a positive threshold, in the units of an eigenvalue. The count is well defined
        if it lies in a gap of the spectrum. The whole curve from epsilon to rank takes no further
        product with the matrix:
        `jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, jnp.logspace(-2, 1, 20))`.
    - `relative`: use `epsilon` times the largest |eigenvalue| that was found as the threshold.

    **Returns:** a `RankEstimate`:

    - `value`: dim times the weight of the nodes beyond `epsilon`, averaged over vectors.
    - `low`, `high`: a 95 % interval for the count, `lower` minus and `upper` plus their standard
        errors times the quantile of Student's t with `num_vectors - 1` degrees of freedom, within 0
        and `spectrum.dim`. The mean of `lower` over all vectors is at most the count, and that of
        `upper` at least, so the interval covers the count at least as often as the two means. It is
        NaN for a single vector, and the bracket if the spectrum is known exactly.
    - `lower`, `upper`: dim times rigorous bounds for the weight that the measure of each vector has
        beyond `epsilon`, averaged over vectors (see `Spectrum`).
    - `sem`, `lower_sem`, `upper_sem`: the standard errors of `value`, `lower` and `upper` over
        vectors, 0 for a spectrum that is known exactly. `sem` does not include the bias that the
        bounds show: if the bracket is wide, `value` plus or minus a multiple of it misses the count
        (docs/curvature.md has a table).
    - `resolved`: whether `upper - lower` is at most a tenth of `spectrum.dim`. Then the fraction of
        eigenvalues beyond `epsilon` is known to a tenth, up to the standard error. Otherwise
        `epsilon` is below the resolution of the order: raise one of the two; more vectors do not
        help. A tenth of all eigenvalues is much more than a small rank, so for a small rank look at
        the bounds.

    **Raises:** `ValueError` if `epsilon` is not positive and finite.
    """
    check_above("epsilon", epsilon, 0.0)
    threshold = jnp.asarray(epsilon) * (largest_magnitude(spectrum) if relative else 1)
    above, below = spectrum.mass_above(threshold), spectrum.mass_below(-threshold)
    value = above.value + below.value
    # The standard error of a single vector is NaN, or 0 if the spectrum is known exactly.
    count = value.shape[0]
    quantile = float(scipy.stats.t.ppf(0.975, count - 1)) if count > 1 else 1.0
    lower = above.lower + below.lower
    # At most everything, or the value if rounding puts it higher.
    everything = jnp.maximum(value, spectrum.mean(jnp.ones_like))
    upper = jnp.minimum(above.upper + below.upper, everything)
    value, lower, upper = (
        Estimate(value=jnp.mean(x), sem=error_over_vectors(spectrum, x))
        for x in (value, lower, upper)
    )
    return RankEstimate(
        value=spectrum.dim * value.value,
        low=spectrum.dim * jnp.maximum(lower.value - quantile * lower.sem, 0),
        high=spectrum.dim * jnp.minimum(upper.value + quantile * upper.sem, 1),
        resolved=upper.value - lower.value <= 0.1,
        lower=spectrum.dim * lower.value,
        upper=spectrum.dim * upper.value,
        sem=spectrum.dim * value.sem,
        lower_sem=spectrum.dim * lower.sem,
        upper_sem=spectrum.dim * upper.sem,
    )


def normalised_epsilon_rank(
    spectrum: AbstractSpectrum, epsilon: Real[ArrayLike, ""], *, relative: bool = False
) -> RankEstimate:
    """Estimates the fraction of eigenvalues with magnitude above `epsilon`: `epsilon_rank` / dim.

    This is the paper's normalisation (section 5). Arguments, errors and fields are those of
    `epsilon_rank`, except that the fields are fractions of all eigenvalues.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Lanczos, Matrix, normalised_epsilon_rank

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    normalised_epsilon_rank(spectrum, 0.01, relative=True).value  # about 0.9
    ```
    """
    rank = epsilon_rank(spectrum, epsilon, relative=relative)
    return RankEstimate(
        value=rank.value / spectrum.dim,
        low=rank.low / spectrum.dim,
        high=rank.high / spectrum.dim,
        resolved=rank.resolved,
        lower=rank.lower / spectrum.dim,
        upper=rank.upper / spectrum.dim,
        sem=rank.sem / spectrum.dim,
        lower_sem=rank.lower_sem / spectrum.dim,
        upper_sem=rank.upper_sem / spectrum.dim,
    )
