"""When a measurement collapses."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Int


WINDOW = 5  # measured values


def collapse_task(
    series: Float[np.ndarray, " tasks"], *, fraction: float = 0.5, floor: float = 0.0
) -> float:
    """The task from which on a series stays below a fraction of what it was in the beginning.

    The series is taken above `floor` (for accuracies: the accuracy of guessing), and smoothed by a
    running median over 5 measured values, which is cut short at the two ends. It has collapsed
    where it stays below `fraction` times its early level until its end. The early level is the
    median of what was measured in the first tenth of the tasks without task 0, at whose start the
    network is random (the spectrum of a random network is another one than that of a network that
    has learned something); or, if nothing was, the next value measured.

    The tenth is one of tasks, but the running median one of measured values: it spans more tasks
    where fewer were measured. Series are compared fairly only on the tasks that all of them have
    measured, and to the spacing of those, as `summarise` does. The smoothing moves no step.

    **Arguments:**

    - `series`: one number per task, NaN where none was measured.

    **Returns:** the first measured task of the collapse; NaN if the series does not collapse, or
    if it was not above `floor` in the beginning.

    ```python
    collapse_task(np.repeat([1.0, 0.1], [30, 70]))  # 30.0
    ```
    """
    tasks = np.flatnonzero(np.isfinite(series))
    values = series[tasks] - floor
    level = _early_level(tasks, values, len(series))
    if not level > 0:
        return np.nan
    reach = WINDOW // 2
    smooth = [np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
    above = np.flatnonzero(np.array(smooth) >= fraction * level)
    start = above[-1] + 1 if len(above) else 0
    return float(tasks[start]) if start < len(tasks) else np.nan


def common_tasks(
    several: Iterable[Float[np.ndarray, " tasks"]], num_tasks: int
) -> Bool[np.ndarray, " tasks"]:
    """The tasks that all series have measured, but for series that have measured nothing."""
    common = np.ones(num_tasks, bool)
    for series in several:
        measured = np.isfinite(series)
        if measured.any():
            common &= measured
    return common


def _early_level(
    tasks: Int[np.ndarray, " measured"], values: Float[np.ndarray, " measured"], num_tasks: int
) -> float:
    later = tasks > 0
    early = values[later & (tasks <= num_tasks // 10)]
    if not len(early):
        early = values[later][:1]
    return float(np.median(early)) if len(early) else np.nan
