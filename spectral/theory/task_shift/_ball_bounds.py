"""Lemma B.1: the distance between two sets of points drawn uniformly from a ball."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from .._base._open_interval import check_strictly_between_0_and_1
from ._ball import check_ball


def hausdorff_bound(
    num_examples: int, dim: int, delta: float, *, radius: float = 1.0, directed: bool = False
) -> float:
    """Lemma B.1, equation (13), corrected: twice the printed bound, and at most 2r.

    Two sets of N points, uniform in the ball of radius r in I dimensions, have a Hausdorff distance
    (or, if `directed`, a directed Hausdorff distance) of at most this bound with probability
    1 - delta. Proof: take a ball of radius eps around a point of the large ball. Its intersection
    with the large ball contains a ball of radius eps / 2, either around that point moved by eps / 2
    towards the origin, or around the origin. So N points miss it with probability at most
    exp(-N (eps / 2r)^I). The union over the 2N points (N for the directed distance) gives the
    bound.

    ```python
    hausdorff_bound(1000, 2, 0.1)  # 0.199
    ```

    Both sets are random here. If margins were trained on one of them, they are not independent of
    it: condition on that set with `HausdorffTail`.

    **Raises:** `ValueError` if `num_examples` or `dim` is below 1, `delta` is outside (0, 1), or
    `radius` is not positive.
    """
    check_ball(num_examples, dim, radius)
    check_strictly_between_0_and_1("delta", delta)
    sides = 1 if directed else 2
    fraction = math.log(sides * num_examples / delta) / num_examples
    return 2 * radius * min(fraction, 1.0) ** (1 / dim)


def persistence_bound(
    radii: Real[ArrayLike, " units"], num_examples: int, dim: int, *, radius: float = 1.0
) -> Float[np.ndarray, " units"]:
    """Lemma B.1, equation (14), corrected: a lower bound on the probability that the directed
    Hausdorff distance of two sets of N points, uniform in a ball, is at most gamma / ||w||.

    1 - exp(log N - N (gamma / (2 ||w|| r))^I), or 0 if that is negative, or 1 if gamma / ||w|| is
    at least 2r.

    **Arguments:**

    - `radii`: gamma / ||w|| of each unit, see `persistence_radii`. They must be fixed before the
        inputs of both tasks are drawn.
    - `num_examples`, `dim`, `radius`: N, I and r.

    **Raises:** `ValueError` as `hausdorff_bound`.
    """
    check_ball(num_examples, dim, radius)
    relative = np.maximum(np.asarray(radii, np.float64), 0) / (2 * radius)
    bound = 1 - num_examples * np.exp(-num_examples * np.minimum(relative, 1) ** dim)
    return np.where(relative >= 1, 1.0, np.maximum(bound, 0))
