"""Theorem 6.5 as printed."""

import numpy as np
from jaxtyping import ArrayLike, Real

from ..dead_units._trainability_bounds import check_probabilities


def trainability_bound(
    probabilities: Real[ArrayLike, " dead"], most_dead: float, *, num_units: int
) -> float:
    """Theorem 6.5, equation (2), as printed; false.

    Var(S) / (E[S] - (n - m))^2 with Var(S) = sum_j p_j (1 - p_j). It has n - m, the units that must
    live, in the place of m, the units that may be dead; it takes the variance of independent
    indicators; and it is Chebyshev's inequality, not Cantelli's. With n = 10 units, m = 8, and 5
    units that surely stay dead it says that the task is never trainable, and it always is. Use
    `trainability_bound`.

    **Arguments:**

    - `probabilities`: p_j for the units that are dead.
    - `most_dead`: m, see `most_dead_units`.
    - `num_units`: n.

    **Raises:** `ValueError` as `trainability_bound`, and where the hypothesis E[S] > n - m fails.
    """
    p = check_probabilities(probabilities, most_dead, num_units)
    deviation = float(np.sum(p)) - (num_units - most_dead)
    if deviation <= 0:
        raise ValueError(
            "Theorem 6.5 as printed has the hypothesis that the sum of `probabilities` is above n "
            f"- m, but it is {np.sum(p):g}, and n - m is {num_units - most_dead:g}: it says "
            "nothing here. Use `trainability_bound`."
        )
    return min(float(np.sum(p * (1 - p))) / deviation**2, 1.0)
