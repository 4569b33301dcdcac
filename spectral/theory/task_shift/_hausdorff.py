"""Distances between finite sets of inputs."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import equinox as eqx
import numpy as np
import scipy.spatial.distance
from jaxtyping import ArrayLike, Float
from scipy.spatial import KDTree

from ..._arguments import check_count
from .._base._hypotheses import as_points


class Pairwise(eqx.Module):
    """Distances to the nearest of other points, from all pairs, `batch_size` points at a time.

    The time grows as points x others x dimension, the memory as `batch_size` x others.

    **Raises:** `ValueError` for a batch size below one.
    """

    _: KW_ONLY
    batch_size: int = eqx.field(static=True, default=1000)

    def __check_init__(self):
        check_count("batch_size", self.batch_size)

    def __call__(
        self, points: Float[np.ndarray, "points size"], others: Float[np.ndarray, "others size"]
    ) -> Float[np.ndarray, " points"]:
        parts = [points[n : n + self.batch_size] for n in range(0, len(points), self.batch_size)]
        # Differences, not inner products: those lose all digits of a distance between near points.
        return np.concatenate([scipy.spatial.distance.cdist(p, others).min(axis=1) for p in parts])


class TreeIndex(eqx.Module):
    """Distances to the nearest of other points by a k-d tree of these.

    As exact as `Pairwise`, and much faster for many points in few dimensions (below about 10). In
    high dimensions the tree has to look at nearly all pairs and is slower.
    """

    def __call__(
        self, points: Float[np.ndarray, "points size"], others: Float[np.ndarray, "others size"]
    ) -> Float[np.ndarray, " points"]:
        return KDTree(others).query(points)[0]


Nearest = Callable[[np.ndarray, np.ndarray], np.ndarray]
_PAIRWISE = Pairwise()


def nearest_distances(
    points: ArrayLike, others: ArrayLike, *, nearest: Nearest = _PAIRWISE
) -> Float[np.ndarray, " points"]:
    """The Euclidean distance from each point to the nearest of the others, in float64.

    **Arguments:**

    - `points`, `others`: finite sets of points, `[points, dimension]`.
    - `nearest`: how it is found: `Pairwise(batch_size)`, `TreeIndex()`, or a function of the two
      arrays.

    **Raises:** `ValueError` for an empty set, coordinates that are not finite, or sets of different
    dimension.
    """
    points, others = as_points("points", points), as_points("others", others)
    if points.shape[1] != others.shape[1]:
        raise ValueError(
            f"`points` have dimension {points.shape[1]} and `others` {others.shape[1]}, but a "
            "distance needs one space: pass sets of the same inputs."
        )
    return nearest(points, others)


def directed_hausdorff(new: ArrayLike, old: ArrayLike, *, nearest: Nearest = _PAIRWISE) -> float:
    """How far a point of `new` can be from the set `old`: sup over x' in `new` of inf over x in
    `old` of ||x' - x||.

    This is the distance that Lemma 6.3 and Theorem B.3 need. It is never more than the Hausdorff
    distance, and is 0 wherever `new` is a part of `old`.

    ```python
    directed_hausdorff(jnp.array([[0.0]]), jnp.array([[0.0], [3.0]]))  # 0.0
    ```

    **Raises:** `ValueError` as `nearest_distances`.
    """
    return float(np.max(nearest_distances(new, old, nearest=nearest)))


def hausdorff(x: ArrayLike, y: ArrayLike, *, nearest: Nearest = _PAIRWISE) -> float:
    """The Hausdorff distance of two finite sets: the larger of the two one-sided distances
    (paper, section 6).

    ```python
    hausdorff(jnp.array([[0.0]]), jnp.array([[0.0], [3.0]]))  # 3.0
    ```

    **Raises:** `ValueError` as `nearest_distances`.
    """
    one, other = (directed_hausdorff(*sets, nearest=nearest) for sets in ((x, y), (y, x)))
    return max(one, other)
