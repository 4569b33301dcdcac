"""How many eigenvalues are larger than epsilon in magnitude."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from ..._arguments import check_above
from ._estimate import error_over_vectors
from ._extremes import largest_magnitude
from ._spectrum import AbstractSpectrum


class RankEstimate(eqx.Module):
    """A number of eigenvalues, and what is known about its error.

    All but `resolved` are counts, or fractions of all eigenvalues from `normalised_epsilon_rank`.
    """

    value: Float[Array, ""]
    # What the nodes leave open about the measures of these vectors: bias, which more vectors do not
    # reduce.
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    sem: Float[Array, ""]  # standard error over vectors; NaN for a single one, 0 if exact
    resolved: Bool[Array, ""]  # upper - lower is at most a tenth of dim


def epsilon_rank(
    spectrum: AbstractSpectrum,
    epsilon: Real[ArrayLike, ""],
    *,
    relative: bool = False,
) -> RankEstimate:
    """Estimate the number of eigenvalues with magnitude above `epsilon`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Hessian, Lanczos

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Lanczos(order=10)(hessian, key=jax.random.key(0))
    rank = epsilon_rank(spectrum, 0.5)
    curve = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, jnp.logspace(-2, 1, 20))
    ```

    **Arguments:**

    - `spectrum`: what an estimator returned.
    - `epsilon`: a positive threshold, in the units of an eigenvalue. The count is well defined
        where it lies in a gap of the spectrum. The whole curve from epsilon to rank costs no
        product with the matrix: `jax.vmap` over epsilon, as above.
    - `relative`: take `epsilon` times the largest |eigenvalue| that was seen as the threshold.

    **Returns:** a `RankEstimate`:

    - `value`: dim times the weight of the nodes beyond `epsilon`, averaged over vectors.
    - `lower`, `upper`: dim times rigorous bounds for the weight that the measure of each vector has
        beyond `epsilon`, averaged over vectors (see `Spectrum`).
    - `sem`: the standard error of `value` over vectors, which knows nothing of the bias that the
        bounds show; 0 for a spectrum that is known exactly. A 95 % interval is `value` plus or
        minus `sem` times the quantile of Student's t with vectors - 1 degrees of freedom.
    - `resolved`: whether `upper - lower` is at most a tenth of `spectrum.dim`. Then the fraction of
        eigenvalues beyond `epsilon` is known to a tenth, but for the standard error; where it is
        not, `epsilon` lies below what the order can resolve: raise one of the two; more vectors do
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
    return RankEstimate(
        value=spectrum.dim * jnp.mean(value),
        lower=spectrum.dim * lower,
        upper=spectrum.dim * upper,
        sem=spectrum.dim * error_over_vectors(spectrum, value),
        resolved=upper - lower <= 0.1,
    )


def normalised_epsilon_rank(
    spectrum: AbstractSpectrum, epsilon: Real[ArrayLike, ""], *, relative: bool = False
) -> RankEstimate:
    """Estimate the fraction of eigenvalues with magnitude above `epsilon`: `epsilon_rank` / dim.

    The paper normalises in this way (section 5). Arguments, errors and fields are those of
    `epsilon_rank`; the fields are fractions of all eigenvalues.

    ```python
    normalised_epsilon_rank(spectrum, 0.01, relative=True)
    ```
    """
    rank = epsilon_rank(spectrum, epsilon, relative=relative)
    return RankEstimate(
        value=rank.value / spectrum.dim,
        lower=rank.lower / spectrum.dim,
        upper=rank.upper / spectrum.dim,
        sem=rank.sem / spectrum.dim,
        resolved=rank.resolved,
    )
