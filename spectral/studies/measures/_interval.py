"""Confidence intervals over seeds."""

import math

import numpy as np
import scipy.special
import scipy.stats


# Intervals of fewer seeds are so wide that they cover a panel: Student's t is 12.7 for two seeds,
# 4.3 for three and 2.8 for five. The seeds are drawn in their place.
MIN_BAND_SEEDS = 5


def student_half_width(values: np.ndarray) -> np.ndarray:
    """Half the width of the 95 % confidence interval of the mean over the first axis.

    Uses Student's t with n - 1 degrees of freedom for n independent values. NaN for one value.

    ```python
    student_half_width(np.array([0.8, 0.9, 1.0]))  # 0.248
    ```
    """
    n = len(values)
    if n < 2:
        return np.full(values.shape[1:], np.nan)
    error = np.std(values, axis=0, ddof=1) / np.sqrt(n)
    return np.asarray(scipy.special.stdtrit(n - 1, 0.975) * error)


def bootstrap_tail(seeds: int, *, freedom: int) -> float:
    """The lower percentile, as a fraction, of a 95 % bootstrap interval of a mean over seeds.

    The percentile interval of draws of `seeds` seeds is too narrow by sqrt((n - 1) / n), and uses
    the normal quantile in place of Student's t with `freedom` degrees (Hesterberg, 2015, section
    2.3.2).
    """
    quantile = scipy.stats.t.ppf(0.975, freedom)
    return float(scipy.stats.norm.cdf(-math.sqrt(seeds / (seeds - 1)) * quantile))


def with_interval(mean: float | None, half_width: float | None, *, digits: int = 3) -> str:
    """A mean and its interval as text, such as "0.75 ± 0.64"; "-" if there is no mean."""
    if mean is None or math.isnan(mean):
        return "-"
    known = half_width is not None and not math.isnan(half_width)
    return f"{mean:.{digits}g}" + (f" ± {half_width:.2g}" if known else "")
