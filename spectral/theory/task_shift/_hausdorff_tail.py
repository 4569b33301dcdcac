"""The tail of the task shift, given the inputs of the first task."""

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..._arguments import check_count, check_no_nan
from .._base._proportion import Proportion, proportion
from ._hausdorff import Nearest, nearest_distances, Pairwise


_PAIRWISE = Pairwise()


class HausdorffTail(eqx.Module):
    """The law of the one-sided Hausdorff distance from a given set to N new points, estimated.

    New points are independent and of one law, so their distance from the set X is at most eps if
    and only if each of them falls into the eps-neighbourhood of X: with V(eps) the probability of
    that, Pr(Delta <= eps | X) = V(eps)^N, exactly. V is estimated by the fraction of fresh draws,
    and the interval of Clopper and Pearson for it gives one for the power.

    This conditions on X, as it must where margins and weights were trained on X.

    ```python
    import jax
    from spectral.theory import HausdorffTail

    draw = lambda seed, n: jax.random.normal(jax.random.key(seed), (n, 2))
    tail = HausdorffTail(draw(0, 100), draw(1, 10_000), examples=100)
    tail.at_most(1.0)  # Proportion(value, lower, upper)
    ```

    **Arguments:**

    - `old`: X, `[points, dimension]`.
    - `draws`: fresh draws of single new points, independent of X, `[draws, dimension]`. They
        should be many times N: otherwise the interval is wide.
    - `examples`: N, the points of the next task.
    - `nearest`: as for `nearest_distances`.

    **Raises:** `ValueError` as `nearest_distances`, and for fewer than one example.
    """

    distances: Float[np.ndarray, " draws"]  # from each draw to X, ascending
    num_examples: int = eqx.field(static=True)

    def __init__(
        self,
        old: ArrayLike,
        draws: ArrayLike,
        *,
        num_examples: int,
        nearest: Nearest = _PAIRWISE,
    ):
        check_count("num_examples", num_examples)
        self.distances = np.sort(nearest_distances(draws, old, nearest=nearest))
        self.num_examples = num_examples

    def at_most(self, distance: Real[ArrayLike, "..."], *, confidence: float = 0.95) -> Proportion:
        """Pr(Delta <= distance | X): for a distance of gamma / ||w||, the probability p that a unit
        stays dead (Definition 6.4).

        **Raises:** `ValueError` for a distance of NaN, and as `proportion`.
        """
        check_no_nan("distance", distance)
        inside = np.searchsorted(self.distances, np.asarray(distance), side="right")
        v = proportion(inside, self.distances.size, confidence=confidence)
        return Proportion(*(np.asarray(x**self.num_examples) for x in (v.value, v.lower, v.upper)))

    def exceeds(self, distance: Real[ArrayLike, "..."], *, confidence: float = 0.95) -> Proportion:
        """Pr(Delta > distance | X)."""
        p = self.at_most(distance, confidence=confidence)
        return Proportion(*(np.asarray(1 - x) for x in (p.value, p.upper, p.lower)))
