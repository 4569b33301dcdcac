"""A test of a sign that is valid for series with trends and autocorrelation."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from ._tau import pair_signs
from ._values import Values


def seed_p_value(
    x: Values, y: Values, present: Bool[np.ndarray, "algorithms seeds"], *, num: int, seed: int
) -> float:
    """The p-value of the correlation across seeds, against no relation of sign and outcome within
    an algorithm.

    The outcomes of whole runs are exchanged between the seeds of an algorithm. Seeds are exchanged
    and never checkpoints: if a sign says nothing of the outcome, every exchange is equally likely,
    whatever trend and autocorrelation the two series have and whatever the algorithms do to both.
    Series that only share a trend are not found, although their correlation within runs is large.
    The test has two sides.

    The statistic is that of `across_seeds`, the mean over algorithms and checkpoints of tau-b over
    seeds, where no value is missing and an algorithm has three seeds. Here two seeds count as well,
    and a missing value has no sign: each series keeps its own norm, so that an exchange does not
    change it. NaN if it is not defined anywhere, or if no algorithm has
    two runs.

    **Arguments:**

    - `num`: random exchanges; the p-value is at least 1 / (1 + `num`).
    """
    a, b = (pair_signs(np.swapaxes(values, 1, 2)) for values in (x, y))
    size = np.sqrt((a * a).sum((2, 3)) * (b * b).sum((2, 3)))
    if not (size > 0).any() or present.sum(axis=1).max(initial=0) < 2:
        return np.nan
    scaled = a * np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)[..., None, None]
    rng = np.random.default_rng(seed)
    total = np.zeros(1 + num)
    for i, row in enumerate(present):
        order = _orders(row, num, rng)
        between = np.einsum("cij,ckl->ijkl", scaled[i], b[i], optimize=True)
        first = np.arange(len(row))
        # The exchanged outcomes of each pair of seeds, beside their signs.
        rows, columns = order[:, :, None], order[:, None, :]
        total += between[first[:, None], first, rows, columns].sum((1, 2))
    reaches = np.abs(total[1:]) >= np.abs(total[0]) - 1e-9
    return float((1 + reaches.sum()) / (1 + num))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values of a family of tests, adjusted by Holm (1979).

    The probability that any true hypothesis has an adjusted value below a level is at most that
    level. Tests without a p-value do not belong to the family.

    ```python
    holm({"a": 0.01, "b": 0.04, "c": 0.03})  # a 0.03, b 0.06, c 0.06
    ```
    """
    known = sorted((p, name) for name, p in p_values.items() if not np.isnan(p))
    adjusted, largest = dict.fromkeys(p_values, np.nan), 0.0
    for i, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - i) * p))
        adjusted[name] = largest
    return adjusted


def _orders(
    present: Bool[np.ndarray, " seeds"], num: int, rng: np.random.Generator
) -> Int[np.ndarray, "orders seeds"]:
    """The order as it is, then random orders of the runs that are present."""
    order = np.tile(np.arange(len(present)), (1 + num, 1))
    order[1:, present] = rng.permuted(order[1:, present], axis=1)
    return order
