"""Lemma B.1 with exact volumes, as a probability and as a distance."""

import math

import scipy.optimize

from ..._arguments import check_above
from .._base._open_interval import check_strictly_between_0_and_1
from ._ball import check_ball, mean_miss
from ._ball_bounds import hausdorff_bound


_ACCURACY = 1e-9  # of a distance, in radii
_NOTHING = 1e-300  # in place of a probability of 0, which has no logarithm


def hausdorff_union_bound(
    distance: float, num_examples: int, dim: int, *, radius: float = 1.0, directed: bool = False
) -> float:
    """Returns an upper bound on the probability that the Hausdorff distance of two sets of N
    points, uniform in a ball, exceeds `distance`. It is sharper than the one in Lemma B.1.

    The bound is 2N (N for the directed distance) times the probability that N points miss the
    neighbourhood of another point. That probability uses the exact volume of the neighbourhood
    (`ball_overlap`) and the exact distribution of its centre, so only the union over the points
    loses anything.

    ```python
    hausdorff_union_bound(0.1, 1000, 2)  # 0.53
    ```

    **Raises:** `ValueError` as `hausdorff_bound`, and if `distance` is negative.
    """
    check_ball(num_examples, dim, radius)
    check_above("distance", distance, 0, strict=False)
    sides = 1 if directed else 2
    return min(sides * num_examples * mean_miss(distance, num_examples, dim, radius=radius), 1.0)


def hausdorff_union_quantile(
    num_examples: int, dim: int, delta: float, *, radius: float = 1.0, directed: bool = False
) -> float:
    """Returns the smallest distance at which `hausdorff_union_bound` is at most `delta`.

    With probability 1 - delta the Hausdorff distance of two sets of N points, uniform in a ball, is
    at most this number, as in (13) of Lemma B.1. It is never above `hausdorff_bound`. In high
    dimensions the difference is large: for I = 784, N = 300 and delta = 0.1 this is 1.364 radii,
    the mean distance is 1.361, and `hausdorff_bound` is 1.991, where 2 is the diameter.

    ```python
    hausdorff_union_quantile(1000, 2, 0.1)  # 0.114
    ```

    The distance is found to 1e-9 radii and rounded up. The integral in the bound has
    an error of about 1e-13, so `delta` should be well above 2N times that.

    **Raises:** `ValueError` as `hausdorff_bound`.
    """
    check_ball(num_examples, dim, radius)
    check_strictly_between_0_and_1("delta", delta)
    sides = 1 if directed else 2

    def excess(distance: float) -> float:
        bound = sides * num_examples * mean_miss(distance, num_examples, dim)
        return math.log(max(bound, _NOTHING) / delta)

    high = hausdorff_bound(num_examples, dim, delta, directed=directed)
    bracket = (0.0, high)
    found = scipy.optimize.root_scalar(excess, bracket=bracket, method="brentq", xtol=_ACCURACY)
    # The root is known to within the accuracy, on one side or the other.
    return radius * min(found.root + 2 * _ACCURACY, 2.0)
