"""Lemma B.1: how far apart two sets of points are that were drawn uniformly from a ball."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from .._arguments import check_above, check_count
from ._ball import mean_miss


def hausdorff_bound_as_printed(
    examples: int, dim: int, delta: float, *, radius: float = 1.0
) -> float:
    """Lemma B.1, equation (13), as printed; false.

    r (log(2N / delta) / N)^(1/I) is said to bound the Hausdorff distance of two sets of N points,
    uniform in the ball of radius r in I dimensions, with probability 1 - delta. It takes the whole
    of a small ball around a point to lie inside the large one; near the boundary, where in high
    dimensions all points are, about half of it does not. In 5 dimensions and more, with 1000 points
    and delta = 0.1, it was violated by every one of 200 draws. Use `hausdorff_bound`.

    **Raises:** `ValueError` for counts below one, a delta outside (0, 1), or a radius that is not
    positive.
    """
    _check(examples, dim, radius)
    _check_delta(delta)
    return radius * (math.log(2 * examples / delta) / examples) ** (1 / dim)


def hausdorff_bound(
    examples: int, dim: int, delta: float, *, radius: float = 1.0, one_sided: bool = False
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

    **Raises:** `ValueError` as `hausdorff_bound_as_printed`.
    """
    _check(examples, dim, radius)
    _check_delta(delta)
    sides = 1 if one_sided else 2
    share = math.log(sides * examples / delta) / examples
    return 2 * radius * min(share, 1.0) ** (1 / dim)


def persistence_bound_as_printed(
    radii: Real[ArrayLike, " units"], examples: int, dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, " units"]:
    """Lemma B.1, equation (14), as printed; false for the reason of (13).

    A lower bound for the probability p that a unit stays dead: 1 - 2 exp(log N - N (gamma / ||w||
    r)^I), and 0 where that is negative. (The last display of its proof leaves out the r.)

    **Raises:** `ValueError` as `hausdorff_bound_as_printed`.
    """
    _check(examples, dim, radius)
    relative = np.maximum(np.asarray(radii, np.float64), 0) / radius
    # Beyond 700 the exponential is 0, and the power may overflow.
    power = np.minimum(relative, 700 ** (1 / dim)) ** dim
    return np.maximum(1 - 2 * examples * np.exp(-examples * power), 0)


def persistence_bound(
    radii: Real[ArrayLike, " units"], examples: int, dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, " units"]:
    """Lemma B.1, equation (14), corrected: a lower bound for the probability that the one-sided
    distance of two sets of N points, uniform in a ball, is at most gamma / ||w||.

    1 - exp(log N - N (gamma / (2 ||w|| r))^I), 0 where that is negative, and 1 where gamma / ||w||
    is at least 2r.

    **Arguments:**

    - `radii`: gamma / ||w|| of each unit, see `persistence_radii`; fixed before the inputs of both
        tasks are drawn.
    - `examples`, `dim`, `radius`: N, I and r.

    **Raises:** `ValueError` as `hausdorff_bound_as_printed`.
    """
    _check(examples, dim, radius)
    relative = np.maximum(np.asarray(radii, np.float64), 0) / (2 * radius)
    bound = 1 - examples * np.exp(-examples * np.minimum(relative, 1) ** dim)
    return np.where(relative >= 1, 1.0, np.maximum(bound, 0))


def hausdorff_union_bound(
    distance: float, examples: int, dim: int, *, radius: float = 1.0, one_sided: bool = False
) -> float:
    """An upper bound on the probability that the Hausdorff distance of two sets of N points,
    uniform in a ball, is larger than `distance`: sharper than what Lemma B.1 uses.

    2N (N for the one-sided distance) times the probability that N points miss the neighbourhood of
    one more, with the exact volume of that neighbourhood (`ball_overlap`) and the exact law of its
    place. What is left between it and the truth is the union over the points.

    ```python
    hausdorff_union_bound(0.1, 1000, 2)  # 0.53
    ```

    **Raises:** `ValueError` as `hausdorff_bound_as_printed`, and for a negative distance.
    """
    _check(examples, dim, radius)
    check_above("distance", distance, 0, strict=False)
    sides = 1 if one_sided else 2
    return min(sides * examples * mean_miss(distance, examples, dim, radius=radius), 1.0)


def _check(examples: int, dim: int, radius: float) -> None:
    check_count("examples", examples)
    check_count("dim", dim)
    check_above("radius", radius, 0)


def _check_delta(delta: float) -> None:
    check_above("delta", delta, 0)
    if delta >= 1:
        raise ValueError(
            f"`delta` is {delta}, but must be a probability below 1: pass how often the bound may "
            "fail."
        )
