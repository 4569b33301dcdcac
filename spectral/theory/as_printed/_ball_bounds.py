"""Lemma B.1 as printed."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from .._base._open_interval import check_strictly_between_0_and_1
from ..task_shift._ball import check_ball


def hausdorff_bound(num_examples: int, dim: int, delta: float, *, radius: float = 1.0) -> float:
    """Lemma B.1, equation (13), as printed; false.

    The lemma says that r (log(2N / delta) / N)^(1/I) bounds the Hausdorff distance of two sets of N
    points, uniform in the ball of radius r in I dimensions, with probability 1 - delta. Its proof
    assumes that a small ball around any point lies inside the large ball. About half of it lies
    outside for points near the boundary, and in high dimensions all points are near the boundary.

    The proof takes a distance of at most r, so a counterexample is fair only if the bound is at
    most r. For N = 3, I = 2 and delta = 0.299 the bound is r, and it holds with probability 0.62
    instead of 0.70; for N = 2, I = 3 and delta = 0.542, with 0.37 instead of 0.46. In one dimension
    too: for N = 10 and delta = 0.01 the bound is 0.76 r, and it fails with probability 0.012.
    `spectral.theory.hausdorff_bound` holds.

    **Raises:** `ValueError` if `num_examples` or `dim` is below 1, `delta` is outside (0, 1), or
    `radius` is not positive.
    """
    check_ball(num_examples, dim, radius)
    check_strictly_between_0_and_1("delta", delta)
    return radius * (math.log(2 * num_examples / delta) / num_examples) ** (1 / dim)


def persistence_bound(
    radii: Real[ArrayLike, " units"], num_examples: int, dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, " units"]:
    """Lemma B.1, equation (14), as printed; false for the same reason as (13).

    A lower bound on the probability p that a unit stays dead: 1 - 2 exp(log N - N (gamma / ||w||
    r)^I), or 0 if that is negative. (The last display of its proof omits the r.)
    `spectral.theory.persistence_bound` holds.

    **Raises:** `ValueError` as `hausdorff_bound`.
    """
    check_ball(num_examples, dim, radius)
    relative = np.maximum(np.asarray(radii, np.float64), 0) / radius
    # Beyond 700 the exponential is 0, and the power may overflow.
    power = np.minimum(relative, 700 ** (1 / dim)) ** dim
    return np.maximum(1 - 2 * num_examples * np.exp(-num_examples * power), 0)
