"""Distances between finite sets of inputs."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import numpy as np
import scipy.spatial.distance
from jaxtyping import ArrayLike, Float
from scipy.spatial import KDTree

from ..._arguments import as_int, check_count
from .._base._hypotheses import as_points


class Pairwise(eqx.Module):
    """Computes distances to the nearest of other points from all pairs, `batch_size` points at a
    time.

    Time grows as points x others x dimension, memory as `batch_size` x others.

    **Raises:** `ValueError` if `batch_size` is below 1.
    """

    _: KW_ONLY
    batch_size: int = eqx.field(static=True, default=1000, converter=as_int)

    def __check_init__(self):
        check_count("batch_size", self.batch_size)

    def __call__(
        self, points: Float[np.ndarray, "points size"], others: Float[np.ndarray, "others size"]
    ) -> Float[np.ndarray, " points"]:
        parts = [points[n : n + self.batch_size] for n in range(0, len(points), self.batch_size)]
        # From differences: inner products would lose all digits of the distance of close points.
        return np.concatenate([scipy.spatial.distance.cdist(p, others).min(axis=1) for p in parts])


class TreeIndex(eqx.Module):
    """Computes distances to the nearest of other points with a k-d tree.

    The distances are as exact as those of `Pairwise`. The tree is much faster for many points in
    few dimensions (below about 10). In high dimensions it has to visit nearly all pairs and is
    slower.
    """

    def __call__(
        self, points: Float[np.ndarray, "points size"], others: Float[np.ndarray, "others size"]
    ) -> Float[np.ndarray, " points"]:
        return KDTree(others).query(points)[0]


Nearest = Callable[[np.ndarray, np.ndarray], np.ndarray]
PAIRWISE = Pairwise()
_SMALL = 1e-100


def nearest_distances(
    points: ArrayLike, others: ArrayLike, *, nearest: Nearest = PAIRWISE
) -> Float[np.ndarray, " points"]:
    """Returns the Euclidean distance from each point to the nearest of the others, in float64.

    **Arguments:**

    - `points`, `others`: finite sets of points, `[points, dimension]`.
    - `nearest`: how to compute it: `Pairwise(batch_size=...)`, `TreeIndex()`, or a function of the
        two arrays.

    Distances below 1e-154 times the largest coordinate may be 0, because their squares underflow.

    **Raises:** `ValueError` for an empty set, coordinates that are not finite, or sets of different
    dimension.
    """
    points, others = as_points("points", points), as_points("others", others)
    if points.shape[1] != others.shape[1]:
        raise ValueError(
            f"`points` has dimension {points.shape[1]} and `others` {others.shape[1]}, but a "
            "distance needs points of one space: pass two sets of the same dimension."
        )
    largest = max(np.max(np.abs(points)), np.max(np.abs(others)))
    if largest == 0 or _SMALL < largest < 1 / _SMALL:
        return nearest(points, others)
    # Squares of such coordinates underflow or overflow. A power of two changes no digit.
    exponent = int(np.frexp(largest)[1])
    scaled = nearest(np.ldexp(points, -exponent), np.ldexp(others, -exponent))
    return np.ldexp(scaled, exponent)


def directed_hausdorff(new: ArrayLike, old: ArrayLike, *, nearest: Nearest = PAIRWISE) -> float:
    """Returns the largest distance from a point of `new` to the set `old`: the supremum over x' in
    `new` of the infimum over x in `old` of ||x' - x||.

    Lemma 6.3 and Theorem B.3 need this distance. It is at most the Hausdorff distance, and 0 if
    `new` is a subset of `old`.

    ```python
    directed_hausdorff(jnp.array([[0.0]]), jnp.array([[0.0], [3.0]]))  # 0.0
    ```

    **Raises:** `ValueError` as `nearest_distances`.
    """
    return float(np.max(nearest_distances(new, old, nearest=nearest)))


def hausdorff(x: ArrayLike, y: ArrayLike, *, nearest: Nearest = PAIRWISE) -> float:
    """Returns the Hausdorff distance of two finite sets, the larger of the two directed distances
    (paper, section 6).

    ```python
    hausdorff(jnp.array([[0.0]]), jnp.array([[0.0], [3.0]]))  # 3.0
    ```

    **Raises:** `ValueError` as `nearest_distances`.
    """
    one, other = (directed_hausdorff(*sets, nearest=nearest) for sets in ((x, y), (y, x)))
    return max(one, other)
