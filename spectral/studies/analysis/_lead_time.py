"""By how many tasks one quantity collapses before another."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..._arguments import check_count
from ..measures._interval import bootstrap_tail
from ._collapse import as_series, Numbers


class LeadTime(NamedTuple):
    """What `lead_time` finds.

    - `mean`: the mean over seeds of the task at which the second quantity collapses minus that of
      the first, over the seeds in which both do; NaN if there is none.
    - `low`, `high`: its 95 % interval over seeds; NaN for fewer than two seeds.
    - `both`, `first_only`, `second_only`, `neither`: the number of seeds in which the quantities
      collapse. A mean over a part of the seeds says nothing about the others.
    """

    mean: float
    low: float
    high: float
    both: int
    first_only: int
    second_only: int
    neither: int


def lead_time(
    first: Numbers,
    second: Numbers,
    *,
    num_samples: int = 9999,
    seed: int = 0,
) -> LeadTime:
    """Returns by how many tasks the first quantity collapses before the second, with a bootstrap
    interval over seeds.

    The interval is the percentile interval of the mean over seeds that are drawn with replacement,
    at percentiles that are wider for few seeds by Student's t (Hesterberg, 2015, section 2.3.2). It
    cannot leave the range of the lead times: with three seeds it is that range, which is a 75 %
    interval at most. `docs/measurements.md` has the measured coverage.

    Compare the tasks of collapse only if both series have been measured on the same tasks. Each
    lead time has the resolution of their spacing.

    **Arguments:**

    - `first`, `second`: for each seed the task at which the quantity collapses, by `collapse_task`
      or `collapse_test`; NaN if it does not.
    - `num_samples`: how often seeds are drawn.
    - `seed`: of the draws.

    **Raises:** `ValueError` if the arrays have different lengths or not one axis, or for a number
    of samples below one.

    ```python
    rank, accuracy = np.array([30.0, 40.0, 20.0, np.nan]), np.array([50.0, 45.0, 45.0, 80.0])
    lead_time(rank, accuracy).mean  # 16.67
    ```
    """
    check_count("num_samples", num_samples)
    first, second = as_series("first", first), as_series("second", second)
    if first.shape != second.shape:
        raise ValueError(
            f"`first` has {len(first)} seeds and `second` has {len(second)}, but must agree: pass "
            "one task for each seed, NaN where the quantity does not collapse."
        )
    one, other = np.isfinite(first), np.isfinite(second)
    leads = (second - first)[one & other]
    low, high = _interval(leads, num_samples, seed)
    return LeadTime(
        float(leads.mean()) if len(leads) else np.nan,
        low,
        high,
        both=len(leads),
        first_only=int(np.sum(one & ~other)),
        second_only=int(np.sum(other & ~one)),
        neither=int(np.sum(~one & ~other)),
    )


def _interval(
    leads: Float[np.ndarray, " seeds"], num_samples: int, seed: int
) -> tuple[float, float]:
    n = len(leads)
    if n < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    means = leads[rng.integers(0, n, (num_samples, n))].mean(axis=1)
    tail = bootstrap_tail(n, freedom=n - 1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
