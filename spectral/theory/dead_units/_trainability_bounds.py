"""Theorem 6.5: persistent dead units bound the probability of being tau-trainable, in four forms.

In all of them the k units that are dead at the end of a task have the probabilities p_j of staying
so, and S = sum_j xi_j counts those that do. A network is tau-trainable on the next task only if no
more than m of its units are dead, so Pr(T = 1) <= Pr(S <= m).
"""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..._arguments import check_count, check_fraction


def cantelli_independent(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5 with m and with Cantelli's inequality, for independent indicators; false for
    task shifts.

    Var(S) / (Var(S) + (E[S] - m)^2) with Var(S) = sum_j p_j (1 - p_j). The indicators of
    Definition 6.4 are all functions of one distance, and far from independent.

    **Arguments:** as for `trainability_bound`.

    **Raises:** `ValueError` as `trainability_bound`, and where the hypothesis E[S] > m fails.
    """
    p = check_probabilities(probabilities, most_dead, num_units)
    return _cantelli(p, float(np.sum(p * (1 - p))), most_dead)


def cantelli_comonotone(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5 with m, Cantelli's inequality and the true variance.

    Var(S) / (Var(S) + (E[S] - m)^2), with the `comonotone_variance`. It holds, and is never better
    than `trainability_bound`, which is exact for the same p_j.

    **Arguments:** as for `trainability_bound`.

    **Raises:** `ValueError` as `trainability_bound`, and where the hypothesis E[S] > m fails.
    """
    p = check_probabilities(probabilities, most_dead, num_units)
    return _cantelli(p, comonotone_variance(p), most_dead)


def trainability_bound(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5, corrected and exact: Pr(T = 1) <= Pr(S <= m) = Pr(Delta > r_(m+1)).

    All indicators xi_j = [Delta <= r_j] compare the same distance Delta with the radii r_j =
    gamma_j / ||w_j||, so no more than m of them are 1 if and only if Delta is larger than the
    (m+1)-th largest radius: the probability is 1 - p of that unit. It is 1 where no more than m
    units are dead.

    ```python
    import jax.numpy as jnp
    from spectral.theory import trainability_bound

    trainability_bound(jnp.array([0.9, 0.6, 0.2]), 1, num_units=8)  # 0.4
    ```

    **Arguments:**

    - `probabilities`: p_j for the units of a layer that are dead, such as
        `HausdorffTail(...).at_most(radii).value`, or lower bounds of them, which give a larger and
        still valid bound. Living units may be among them, with 0.
    - `most_dead`: m, the most dead units with which the task is trainable, rounded down: see
        `most_dead_units`.
    - `num_units`: n, the units of the layer.

    **Raises:** `ValueError` for probabilities outside [0, 1], m outside [0, n], or more dead units
    than units.
    """
    p = np.sort(check_probabilities(probabilities, most_dead, num_units))[::-1]
    place = math.floor(most_dead)
    return 1.0 - float(p[place]) if place < p.size else 1.0


def comonotone_variance(probabilities: Real[ArrayLike, " dead"]) -> float:
    """The variance of S: the sum over pairs of min(p_i, p_j) - p_i p_j.

    Comonotone indicators are 1 together as far as their probabilities allow.

    **Raises:** `ValueError` for probabilities outside [0, 1].
    """
    check_fraction("probabilities", probabilities)
    p = np.asarray(probabilities, np.float64)
    return float(np.sum(np.minimum(p[:, None], p[None, :]) - p[:, None] * p[None, :]))


def _cantelli(p: Float[np.ndarray, " dead"], variance: float, most_dead: float) -> float:
    deviation = float(np.sum(p)) - math.floor(most_dead)
    if deviation <= 0:
        raise ValueError(
            "Cantelli's inequality has the hypothesis that the sum of `probabilities` is above m, "
            f"but it is {np.sum(p):g}, and m is {most_dead:g}: it says nothing here. Use "
            "`trainability_bound`."
        )
    return variance / (variance + deviation**2)


def check_probabilities(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, num_units: int
) -> Float[np.ndarray, " dead"]:
    check_fraction("probabilities", probabilities)
    check_count("num_units", num_units)
    p = np.asarray(probabilities, np.float64)
    if not 0 <= most_dead <= num_units:
        raise ValueError(
            f"`most_dead` is {most_dead}, but must lie between 0 and the {num_units} `num_units`: "
            "a threshold that no network of this size can meet, or that none can miss, makes no "
            "statement."
        )
    if p.size > num_units:
        raise ValueError(
            f"`probabilities` are those of {p.size} dead units, but there are {num_units} "
            "`num_units`: pass the units of one layer."
        )
    return p
