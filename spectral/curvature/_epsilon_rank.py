"""How many eigenvalues are larger than epsilon in magnitude."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .._arguments import check_above
from ._spectrum import Spectrum


class RankEstimate(eqx.Module):
    """A number of eigenvalues, and what is known about its error. All but `resolved` are counts."""

    value: Float[Array, ""]
    # What the nodes leave open about the measures of these probes: bias, which more probes do not
    # reduce.
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    sem: Float[Array, ""]  # standard error over probes; NaN for a single one
    resolved: Bool[Array, ""]  # upper - lower is at most a tenth of dim


def epsilon_rank(spectrum: Spectrum, epsilon: Real[ArrayLike, ""]) -> RankEstimate:
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
        beyond `epsilon`, averaged over probes. The inequalities of Chebyshev, Markov and Stieltjes
        (Akhiezer 1965, section 2.5; Golub and Meurant 2010) bound the mass on either side of a
        point between two nodes by the weights up to the second next node on each side. Where the
        Krylov space was exhausted the measure is known, and the bounds meet. Thresholds closer to
        a node than `spectrum.tolerance` count as on both sides of it.
    - `sem`: the standard error of `value` over probes, which knows nothing of the bias that the
        bounds show. A 95 % interval is `value` plus or minus `sem` times the quantile of Student's
        t with probes - 1 degrees of freedom.
    - `resolved`: whether `upper - lower` is at most a tenth of `spectrum.dim`. Where it is not,
        raise the order of the estimator or `epsilon`; more probes do not help.

    **Raises:** `ValueError` if `epsilon` is not positive and finite.
    """
    check_above("epsilon", epsilon, 0.0)
    low, value, high = jax.vmap(_mass_beyond, in_axes=(0, 0, 0, 0, None))(
        spectrum.nodes, spectrum.weights, spectrum.exhausted, spectrum.tolerance, epsilon
    )
    probes = value.shape[0]
    sem = jnp.std(value, ddof=1) / probes**0.5 if probes > 1 else jnp.full_like(value[0], jnp.nan)
    lower, upper = jnp.mean(low), jnp.mean(high)
    return RankEstimate(
        value=spectrum.dim * jnp.mean(value),
        lower=spectrum.dim * lower,
        upper=spectrum.dim * upper,
        sem=spectrum.dim * sem,
        resolved=upper - lower <= 0.1,
    )


def _mass_beyond(
    nodes: Float[Array, " order"],
    weights: Float[Array, " order"],
    exhausted: Bool[Array, ""],
    tolerance: Float[Array, ""],
    epsilon: Real[ArrayLike, ""],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Bounds and estimate of the mass outside [-epsilon, epsilon].

    Each tail is summed from its own end: taken from 1, a small one would lose its digits.
    """
    right = _tail(nodes[::-1], weights[::-1], exhausted, tolerance, epsilon)
    left = _tail(-nodes, weights, exhausted, tolerance, epsilon)
    # Comparisons with NaN are false: without this a matrix of NaN would have rank 0.
    known = jnp.all(jnp.isfinite(nodes))
    low, value, high = (jnp.where(known, a + b, jnp.nan) for a, b in zip(right, left, strict=True))
    # Rounding of the sums must not put the value outside its bounds.
    return jnp.clip(low, 0, value), value, jnp.clip(high, value, jnp.maximum(value, 1))


def _tail(
    nodes: Float[Array, " order"],
    weights: Float[Array, " order"],
    exhausted: Bool[Array, ""],
    tolerance: Float[Array, ""],
    epsilon: Real[ArrayLike, ""],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Bounds and estimate of the mass above `epsilon`, with the nodes in descending order.

    Let W_k be the weight of the k largest nodes, and j the number of nodes above epsilon. The
    mass above a node, without and with it, lies between W_{k-1} and W_k for the k-th largest.
    Epsilon lies between the j-th and the next, so the mass above it, which falls with epsilon,
    lies between W_{j-1} and W_{j+1}: this holds whether or not epsilon is itself an eigenvalue.
    """
    cumulative = jnp.concatenate([jnp.zeros_like(weights[:1]), jnp.cumsum(weights)])
    neighbours = jnp.where(exhausted, 0, 1)
    surely = jnp.sum(nodes > epsilon + tolerance) - neighbours
    perhaps = jnp.sum(nodes > epsilon - tolerance) + neighbours
    return (
        cumulative[jnp.maximum(surely, 0)],
        cumulative[jnp.sum(nodes > epsilon)],
        cumulative[jnp.minimum(perhaps, nodes.size)],
    )
