"""Theorem 6.5 as printed."""

import numpy as np
from jaxtyping import ArrayLike, Real

from ..dead_units._trainability_bounds import check_probabilities


def trainability_bound(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5, equation (2), as printed; false.

    Var(S) / (E[S] - (n - m))^2 with Var(S) = sum_j p_j (1 - p_j). It has n - m, the number of units
    that must live, in place of m, the number that may be dead. Its variance is that of independent
    indicators. It is Chebyshev's inequality, not Cantelli's. For n = 10 units, m = 8, and 5 units
    that certainly stay dead it says that the task is never trainable, but the task always is.
    `spectral.theory.trainability_bound` holds.

    **Arguments:** as for `spectral.theory.trainability_bound`.

    **Raises:** `ValueError` as `spectral.theory.trainability_bound`, and if the hypothesis
    E[S] > n - m fails.
    """
    p = check_probabilities(probabilities, most_dead, num_units)
    deviation = float(np.sum(p)) - (num_units - most_dead)
    if deviation <= 0:
        raise ValueError(
            f"The sum of `probabilities` is {np.sum(p):g} and n - m, that is `num_units` - "
            f"`most_dead`, is {num_units - most_dead:g}, but Theorem 6.5 as printed has the "
            "hypothesis that the sum is above n - m: use `spectral.theory.trainability_bound`, "
            "which does not need it."
        )
    return min(float(np.sum(p * (1 - p))) / deviation**2, 1.0)
