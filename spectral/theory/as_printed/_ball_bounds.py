"""Lemma B.1 as printed."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..task_shift._ball_bounds import check_ball, check_delta


def hausdorff_bound(num_examples: int, dim: int, delta: float, *, radius: float = 1.0) -> float:
    """Lemma B.1, equation (13), as printed; false.

    r (log(2N / delta) / N)^(1/I) is said to bound the Hausdorff distance of two sets of N points,
    uniform in the ball of radius r in I dimensions, with probability 1 - delta. It takes the whole
    of a small ball around a point to lie inside the large one; near the boundary, where in high
    dimensions all points are, about half of it does not. In 5 dimensions and more, with 1000 points
    and delta = 0.1, it was violated by every one of 200 draws. `spectral.theory.hausdorff_bound`
    holds.

    **Raises:** `ValueError` for counts below one, a delta outside (0, 1), or a radius that is not
    positive.
    """
    check_ball(num_examples, dim, radius)
    check_delta(delta)
    return radius * (math.log(2 * num_examples / delta) / num_examples) ** (1 / dim)


def persistence_bound(
    radii: Real[ArrayLike, " units"], num_examples: int, dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, " units"]:
    """Lemma B.1, equation (14), as printed; false for the reason of (13).

    A lower bound for the probability p that a unit stays dead: 1 - 2 exp(log N - N (gamma / ||w||
    r)^I), and 0 where that is negative. (The last display of its proof leaves out the r.)

    **Raises:** `ValueError` as `hausdorff_bound`.
    """
    check_ball(num_examples, dim, radius)
    relative = np.maximum(np.asarray(radii, np.float64), 0) / radius
    # Beyond 700 the exponential is 0, and the power may overflow.
    power = np.minimum(relative, 700 ** (1 / dim)) ** dim
    return np.maximum(1 - 2 * num_examples * np.exp(-num_examples * power), 0)
