"""The tail of the task shift, given the inputs of the first task."""

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..._arguments import as_int, check_count, check_no_nan
from .._base._proportion import Proportion, proportion
from ._hausdorff import Nearest, nearest_distances, PAIRWISE


class HausdorffTail(eqx.Module):
    """Estimates the distribution of the directed Hausdorff distance from N new points to a given
    set X.

    The new points are independent and identically distributed, so their distance from X is at most
    eps if and only if each of them falls into the eps-neighbourhood of X. With V(eps) the
    probability of that event for one point, Pr(Delta <= eps | X) = V(eps)^N exactly. V is estimated
    by the fraction of fresh draws in the neighbourhood, and its Clopper-Pearson interval gives an
    interval for the power.

    Conditioning on X is necessary if margins and weights were trained on X.

    ```python
    import jax
    from spectral.theory import HausdorffTail

    draw = lambda seed, n: jax.random.normal(jax.random.key(seed), (n, 2))
    tail = HausdorffTail(draw(0, 100), draw(1, 10_000), num_examples=100)
    tail.at_most(1.0)  # Proportion(value, lower, upper)
    ```

    **Arguments:**

    - `old`: X, `[points, dimension]`.
    - `draws`: fresh draws of single new points, independent of X, `[draws, dimension]`. Draw many
        times N, otherwise the interval is wide.
    - `num_examples`: N, the number of points of the next task.
    - `nearest`: as for `nearest_distances`.

    **Raises:** `ValueError` as `nearest_distances`, and if `num_examples` is below 1.
    """

    distances: Float[np.ndarray, " draws"]  # from each draw to X, ascending
    num_examples: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        old: ArrayLike,
        draws: ArrayLike,
        *,
        num_examples: int,
        nearest: Nearest = PAIRWISE,
    ):
        check_count("num_examples", num_examples)
        self.distances = np.sort(nearest_distances(draws, old, nearest=nearest))
        self.num_examples = num_examples

    def at_most(self, distance: Real[ArrayLike, "..."], *, confidence: float = 0.95) -> Proportion:
        """Returns Pr(Delta <= distance | X). At the distance gamma / ||w|| this is the probability
        p that a unit stays dead (Definition 6.4).

        **Raises:** `ValueError` if `distance` has NaN, and as `proportion`.
        """
        check_no_nan("distance", distance)
        inside = np.searchsorted(self.distances, np.asarray(distance), side="right")
        v = proportion(inside, self.distances.size, confidence=confidence)
        return Proportion(*(np.asarray(x**self.num_examples) for x in (v.value, v.lower, v.upper)))

    def exceeds(self, distance: Real[ArrayLike, "..."], *, confidence: float = 0.95) -> Proportion:
        """Returns Pr(Delta > distance | X)."""
        p = self.at_most(distance, confidence=confidence)
        return Proportion(*(np.asarray(1 - x) for x in (p.value, p.upper, p.lower)))
