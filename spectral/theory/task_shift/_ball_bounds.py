"""Lemma B.1: how far apart two sets of points are that were drawn uniformly from a ball."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..._arguments import check_above, check_count
from ._ball import mean_miss


def hausdorff_bound(
    num_examples: int, dim: int, delta: float, *, radius: float = 1.0, directed: bool = False
) -> float:
    """Lemma B.1, equation (13), corrected: twice what is printed, and at most 2r.

    The part of a ball of radius eps, around a point of the large ball, that lies in the latter
    contains a ball of radius eps / 2: around the point moved by eps / 2 towards the origin, or
    around the origin. So N points miss it with probability at most exp(-N (eps / 2r)^I), and the
    union over the 2N points (N for the one-sided distance) gives the bound.

    ```python
    hausdorff_bound(1000, 2, 0.1)  # 0.199
    ```

    Both sets are random here. Margins that were trained on one of them are not independent of it;
    for these condition on the set, by `HausdorffTail`.

    **Raises:** `ValueError` for counts below one, a delta outside (0, 1), or a radius that is not
    positive.
    """
    check_ball(num_examples, dim, radius)
    check_delta(delta)
    sides = 1 if directed else 2
    fraction = math.log(sides * num_examples / delta) / num_examples
    return 2 * radius * min(fraction, 1.0) ** (1 / dim)


def persistence_bound(
    radii: Real[ArrayLike, " units"], num_examples: int, dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, " units"]:
    """Lemma B.1, equation (14), corrected: a lower bound for the probability that the one-sided
    distance of two sets of N points, uniform in a ball, is at most gamma / ||w||.

    1 - exp(log N - N (gamma / (2 ||w|| r))^I), 0 where that is negative, and 1 where gamma / ||w||
    is at least 2r.

    **Arguments:**

    - `radii`: gamma / ||w|| of each unit, see `persistence_radii`; fixed before the inputs of both
        tasks are drawn.
    - `num_examples`, `dim`, `radius`: N, I and r.

    **Raises:** `ValueError` as `hausdorff_bound`.
    """
    check_ball(num_examples, dim, radius)
    relative = np.maximum(np.asarray(radii, np.float64), 0) / (2 * radius)
    bound = 1 - num_examples * np.exp(-num_examples * np.minimum(relative, 1) ** dim)
    return np.where(relative >= 1, 1.0, np.maximum(bound, 0))


def hausdorff_union_bound(
    distance: float, num_examples: int, dim: int, *, radius: float = 1.0, directed: bool = False
) -> float:
    """An upper bound on the probability that the Hausdorff distance of two sets of N points,
    uniform in a ball, is larger than `distance`: sharper than what Lemma B.1 uses.

    2N (N for the one-sided distance) times the probability that N points miss the neighbourhood of
    one more, with the exact volume of that neighbourhood (`ball_overlap`) and the exact law of its
    place. What is left between it and the truth is the union over the points.

    ```python
    hausdorff_union_bound(0.1, 1000, 2)  # 0.53
    ```

    **Raises:** `ValueError` as `hausdorff_bound`, and for a negative distance.
    """
    check_ball(num_examples, dim, radius)
    check_above("distance", distance, 0, strict=False)
    sides = 1 if directed else 2
    return min(sides * num_examples * mean_miss(distance, num_examples, dim, radius=radius), 1.0)


def check_ball(num_examples: int, dim: int, radius: float) -> None:
    check_count("num_examples", num_examples)
    check_count("dim", dim)
    check_above("radius", radius, 0)


def check_delta(delta: float) -> None:
    check_above("delta", delta, 0)
    if delta >= 1:
        raise ValueError(
            f"`delta` is {delta}, but must be a probability below 1: pass how often the bound may "
            "fail."
        )
