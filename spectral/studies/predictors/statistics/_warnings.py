"""Whether a sign falls before the outcome does."""

from typing import NamedTuple

import numpy as np
import scipy.stats

from ...analysis._collapse_test import collapse_test
from ...analysis._drops import blocks
from ...analysis._lead_time import lead_time
from ._bootstrap import Drawn, mean_of_runs, Weights
from ._values import Values


_PERMUTATIONS = 499  # for each p-value


class Warnings(NamedTuple):
    """The falls of a sign beside those of the outcome.

    - `lead`: for each draw of seeds, the mean over runs in which both fall of the task at which the
      outcome falls minus that at which the sign does; NaN if there is none.
    - `both`: runs in which both fall, of `falling` in which the outcome does.
    - `false_alarms`: runs in which the sign falls and the outcome does not, of the `steady` ones.
    """

    lead: Drawn
    both: int
    falling: int
    false_alarms: int
    steady: int


def falls(values: Values, tasks: np.ndarray) -> np.ndarray:
    """The task at which each run falls, `[algorithms, seeds]`, by `collapse_test` over the
    checkpoints; infinity if it does not fall, NaN if it has too few checkpoints to say."""
    found = np.full(values.shape[:2], np.nan)
    for at in np.ndindex(*found.shape):
        series = np.full(int(tasks.max(initial=-1)) + 1, np.nan)
        # The test looks at ranks alone. They are finite where a branch diverged.
        series[tasks] = scipy.stats.rankdata(values[at], nan_policy="omit")
        test = collapse_test(blocks(series), num_permutations=_PERMUTATIONS)
        if not np.isnan(test.p_value):
            found[at] = test.task if test.found else np.inf
    return found


def warnings_of(sign: np.ndarray, outcome: np.ndarray, weights: Weights) -> Warnings:
    """Compare the falls of a sign with those of the outcome, in the runs that can say both."""
    known = ~(np.isnan(sign) | np.isnan(outcome))
    sign, outcome = (np.where(known & np.isfinite(v), v, np.nan) for v in (sign, outcome))
    counts = lead_time(sign[known], outcome[known], num_samples=1)
    return Warnings(
        mean_of_runs(outcome - sign, weights),
        counts.both,
        counts.both + counts.second_only,
        counts.first_only,
        counts.first_only + counts.neither,
    )
