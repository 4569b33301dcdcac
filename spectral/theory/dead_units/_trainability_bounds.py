"""Theorem 6.5: persistent dead units bound the probability of being tau-trainable, in three forms.

Each of the k units that are dead at the end of a task stays dead with probability p_j, and
S = sum_j xi_j counts those that do. A network is tau-trainable on the next task only if at most m
of its units are dead, so Pr(T = 1) <= Pr(S <= m). The printed form is in `theory.as_printed`.
"""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..._arguments import check_count, check_fraction


def cantelli_independent(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5 with m and Cantelli's inequality for independent indicators; false for task
    shifts.

    Var(S) / (Var(S) + (E[S] - m)^2) with Var(S) = sum_j p_j (1 - p_j). The indicators of
    Definition 6.4 are all functions of one distance, so they are far from independent.

    **Arguments:** as for `trainability_bound`.

    **Raises:** `ValueError` as `trainability_bound`, and if the hypothesis E[S] > m fails.
    """
    p = check_probabilities(probabilities, most_dead, num_units)
    return _cantelli(p, float(np.sum(p * (1 - p))), most_dead)


def cantelli_comonotone(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5 with m, Cantelli's inequality and the true variance.

    Var(S) / (Var(S) + (E[S] - m)^2), with the `comonotone_variance`. This bound holds. It is never
    better than `trainability_bound`, which is exact for the same p_j.

    **Arguments:** as for `trainability_bound`.

    **Raises:** `ValueError` as `trainability_bound`, and if the hypothesis E[S] > m fails.
    """
    p = check_probabilities(probabilities, most_dead, num_units)
    return _cantelli(p, comonotone_variance(p), most_dead)


def trainability_bound(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5, corrected and exact: Pr(T = 1) <= Pr(S <= m) = Pr(Delta > r_(m+1)).

    All indicators xi_j = [Delta <= r_j] compare one distance Delta with the radii r_j = gamma_j /
    ||w_j||. So at most m of them are 1 if and only if Delta exceeds the (m+1)-th largest radius,
    and the bound is 1 - p of that unit. It is 1 if at most m units are dead.

    ```python
    import jax.numpy as jnp
    from spectral.theory import trainability_bound

    trainability_bound(jnp.array([0.9, 0.6, 0.2]), 1, num_units=8)  # 0.4
    ```

    **Arguments:**

    - `probabilities`: p_j for the dead units of a layer, such as
        `HausdorffTail(...).at_most(radii).value`, or lower bounds on them, which give a larger and
        still valid bound. Living units may be included with probability 0.
    - `most_dead`: m, the largest number of dead units with which the task is trainable, see
        `most_dead_units`; it is rounded down.
    - `num_units`: n, the number of units in the layer.

    **Raises:** `ValueError` if a probability is outside [0, 1], m is outside [0, n], or there are
    more probabilities than units.
    """
    p = np.sort(check_probabilities(probabilities, most_dead, num_units))[::-1]
    place = math.floor(most_dead)
    return 1.0 - float(p[place]) if place < p.size else 1.0


def comonotone_variance(probabilities: Real[ArrayLike, " dead"]) -> float:
    """The variance of S: the sum over pairs of min(p_i, p_j) - p_i p_j.

    Comonotone indicators are 1 together as often as their probabilities allow.

    **Raises:** `ValueError` if a probability is outside [0, 1].
    """
    check_fraction("probabilities", probabilities)
    p = np.asarray(probabilities, np.float64)
    return float(np.sum(np.minimum(p[:, None], p[None, :]) - p[:, None] * p[None, :]))


def _cantelli(p: Float[np.ndarray, " dead"], variance: float, most_dead: float) -> float:
    deviation = float(np.sum(p)) - math.floor(most_dead)
    if deviation <= 0:
        raise ValueError(
            f"The sum of `probabilities` is {np.sum(p):g} and `most_dead` is {most_dead:g}, but "
            "Cantelli's inequality has the hypothesis that the sum is above `most_dead`, rounded "
            "down: use `trainability_bound`, which does not need it."
        )
    return variance / (variance + deviation**2)


def check_probabilities(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, num_units: int
) -> Float[np.ndarray, " dead"]:
    """Returns the probabilities in float64.

    **Raises:** `ValueError` as `trainability_bound`.
    """
    check_fraction("probabilities", probabilities)
    check_count("num_units", num_units)
    p = np.asarray(probabilities, np.float64)
    if not 0 <= most_dead <= num_units:
        raise ValueError(
            f"`most_dead` is {most_dead}, but must lie between 0 and `num_units`, which is "
            f"{num_units}, because the theorem counts dead units of this layer: pass such a number."
        )
    if p.size > num_units:
        raise ValueError(
            f"`probabilities` has {p.size} entries, but `num_units` is {num_units} and there is at "
            "most one entry for each unit: pass the dead units of one layer."
        )
    return p
