"""Intervals for a median, without assumptions about the noise."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats


class Interval(NamedTuple):
    middle: float
    lower: float
    upper: float
    level: float  # the probability that the interval contains the median, at least


def of_median(values: Sequence[float], level: float = 0.95) -> Interval:
    """The median of independent values, and the smallest interval between two of them, at equal
    ranks from both ends, that contains the true median with at least the given probability. If
    there are too few values for that, the interval is their range, with its own level."""
    ordered = np.sort(np.asarray(values, float))
    count = len(ordered)
    cut = 0
    while 2 * (cut + 1) < count and _level(count, cut + 1) >= level:
        cut += 1
    middle = float(np.median(ordered))
    return Interval(middle, float(ordered[cut]), float(ordered[-1 - cut]), _level(count, cut))


def _level(count: int, cut: int) -> float:
    """The probability that the median is between the values of rank `cut` from both ends."""
    return float(1 - 2 * scipy.stats.binom.cdf(cut, count, 0.5))
