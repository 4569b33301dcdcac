"""A test of whether a series collapses, and an interval for the task at which it does."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..._arguments import check_count
from ._collapse import as_series, Numbers, without_task_zero


SHORTEST = 3  # measured values on each side of a drop


class CollapseTest(NamedTuple):
    """What `collapse_test` finds.

    - `p_value`: the probability of so clear a drop in a series without one; NaN for a series with
      fewer than 6 measured values.
    - `task`: the first measured task after the clearest drop.
    - `low`, `high`: the confidence interval of `task`, at the confidence 1 - `rejection_level`.
    - `ratio`: the median after the drop over the median before it; NaN if the median before is
      not above the floor.
    - `autocorrelation`: of the ranks of neighbouring values around the means of the two sides.
      Clearly above 0, the p-value and the interval promise too much.
    - `rejection_level`: the rate of false alarms.
    """

    p_value: float
    task: float
    low: float
    high: float
    ratio: float
    autocorrelation: float
    rejection_level: float

    @property
    def found(self) -> bool:
        """Whether the series drops, at the rejection level."""
        return self.p_value <= self.rejection_level


def collapse_test(
    series: Numbers,
    *,
    floor: float = 0.0,
    rejection_level: float = 0.05,
    num_permutations: int = 1999,
    seed: int = 0,
) -> CollapseTest:
    """Test whether a series drops at some task and stays low, against no change.

    The statistic is the largest difference of mean ranks before and after a task, divided by its
    standard deviation (Pettitt, 1979, with the weights of a maximally selected rank statistic).
    Both sides have at least 3 measured values, and task 0 is left out, as in `collapse_task`. The
    p-value is that of random permutations. If the noise of the measurements is independent from
    task to task, a series without a drop is found with probability `rejection_level` at most,
    whatever the distribution of the noise. Autocorrelated noise and slow trends are found more
    often. `docs/measurements.md` has the measured rates.

    The confidence interval holds the tasks at which a single drop is not rejected by the same
    statistic under permutations within the two sides; its ends are found by bisection. With
    independent noise around one drop it contains the true task with probability
    1 - `rejection_level` at least.

    `collapse_task` asks another question: from which task on a series stays below half its early
    level. It has no rate of false alarms.

    **Arguments:**

    - `series`: one number per task, NaN for tasks without a measurement.
    - `floor`: subtracted from the levels before the `ratio` is taken. The test does not depend on
      it.
    - `rejection_level`: the rate of false alarms, between 0 and 1.
    - `num_permutations`: random permutations for the p-value. The interval takes a tenth for each
      task that it looks at.
    - `seed`: of the permutations.

    **Raises:** `ValueError` for a rejection level outside (0, 1), for fewer permutations than ten
    times 1 / `rejection_level`, or for a series with another number of axes than one.

    ```python
    noise = np.random.default_rng(0).normal(size=30)
    found = collapse_test(np.exp(0.2 * noise) * np.repeat([1.0, 0.5], 15))
    found.found, found.low <= 15 <= found.high  # (True, True)
    ```
    """
    _check(rejection_level, num_permutations)
    tasks, values = without_task_zero(as_series("series", series))
    n = len(values)
    if n < 2 * SHORTEST:
        nan = np.nan
        return CollapseTest(nan, nan, nan, nan, nan, nan, rejection_level)
    ranks = _centred_ranks(values)
    observed = _drops(ranks[None])[0]
    largest, split = observed.max(), SHORTEST + int(observed.argmax())
    rng = np.random.default_rng(seed)
    p_value = _fraction_above(rng.permuted(np.tile(ranks, (num_permutations, 1)), axis=1), largest)

    def possible(split: int) -> bool:
        sides = ranks[:split], ranks[split:]
        rows = [rng.permuted(np.tile(s, (num_permutations // 10, 1)), axis=1) for s in sides]
        return _fraction_above(np.concatenate(rows, axis=1), largest) > rejection_level

    first = _furthest(possible, split, SHORTEST)
    last = _furthest(possible, split, n - SHORTEST)
    before, after = np.median(values[:split]) - floor, np.median(values[split:]) - floor
    return CollapseTest(
        p_value,
        float(tasks[split]),
        float(tasks[first]),
        float(tasks[last]),
        float(after / before) if before > 0 else np.nan,
        _autocorrelation(ranks, split),
        rejection_level,
    )


def _furthest(possible: Callable[[int], bool], start: int, end: int) -> int:
    """The possible split that is furthest from `start`, which is possible, on the way to `end`."""
    if start == end or possible(end):
        return end
    while abs(end - start) > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if possible(middle) else (start, middle)
    return start


def _centred_ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The ranks of the values minus their mean. Equal values have their mean rank, so all are
    multiples of 1/4 and their sums are exact."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse] - (len(values) + 1) / 2


def _drops(ranks: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows splits"]:
    """The drop at every split that leaves enough values on both sides, in units that are the same
    for all orders of the ranks."""
    n = ranks.shape[1]
    split = np.arange(SHORTEST, n - SHORTEST + 1)
    before = np.cumsum(ranks, axis=1)[:, split - 1]
    return before * np.sqrt(n / (split * (n - split)))


def _fraction_above(rows: Float[np.ndarray, "rows n"], largest: float) -> float:
    """The fraction of orders whose largest drop reaches that of the series, which counts as one."""
    return float((1 + np.sum(_drops(rows).max(axis=1) >= largest)) / (1 + len(rows)))


def _autocorrelation(ranks: Float[np.ndarray, " n"], split: int) -> float:
    sides = ranks[:split], ranks[split:]
    around = np.concatenate([side - side.mean() for side in sides])
    total = np.sum(around**2)
    return float(np.sum(around[1:] * around[:-1]) / total) if total > 0 else 0.0


def _check(rejection_level: float, num_permutations: int) -> None:
    check_count("num_permutations", num_permutations)
    if not 0 < rejection_level < 1:
        raise ValueError(
            f"`rejection_level` is {rejection_level}, but must be above 0 and below 1: pass for "
            "example 0.05."
        )
    if num_permutations * rejection_level < 10:
        raise ValueError(
            f"`num_permutations` is {num_permutations}, but must be at least "
            f"{int(np.ceil(10 / rejection_level))} for a `rejection_level` of {rejection_level}: "
            "pass more permutations."
        )
