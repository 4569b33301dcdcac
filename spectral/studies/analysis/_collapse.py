"""The task at which a series collapses."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Real


WINDOW = 5  # measured values


Numbers = Real[np.ndarray, "..."] | Sequence[float]


def collapse_task(series: Numbers, *, fraction: float = 0.5, floor: float = 0.0) -> float:
    """The task from which a series stays below a fraction of its early level.

    First `floor` is subtracted (for accuracies: the accuracy of guessing), and the series is
    smoothed by a running median over 5 measured values, fewer at the two ends. The series has
    collapsed where the smoothed values stay below `fraction` times the early level until the end.

    The early level is the median of the values measured in the first tenth of the tasks without
    task 0, or the next value if there are none. At the start of task 0 the network is random, and a
    random network has another spectrum than a network that has learned something.

    The tenth counts tasks, but the running median counts measured values: with fewer measurements
    it spans more tasks. Two series can be compared only on the tasks that both have measured, and
    with a resolution of their spacing, as in `summarise`. A step stays at its task when smoothed.

    This describes a series; it is not a test. Noise without any change falls below half its early
    level now and then, above all at the end, where the median has fewer values. `collapse_test` has
    a rate of false alarms and an interval for the task.

    **Arguments:**

    - `series`: one number per task, NaN for tasks without a measurement.

    **Returns:** the first measured task of the collapse; NaN if the series does not collapse, or if
    its early level is not above `floor`.

    **Raises:** `ValueError` for a series with another number of axes than one.

    ```python
    collapse_task(np.repeat([1.0, 0.1], [30, 70]))  # 30.0
    ```
    """
    series = as_series("series", series)
    tasks = np.flatnonzero(np.isfinite(series))
    values = series[tasks] - floor
    level = _early_level(tasks, values, len(series))
    if not level > 0:
        return np.nan
    above = np.flatnonzero(_running_median(values) >= fraction * level)
    start = above[-1] + 1 if len(above) else 0
    return float(tasks[start]) if start < len(tasks) else np.nan


def as_series(name: str, values: Numbers) -> Float[np.ndarray, " values"]:
    """One floating-point number for each task or seed.

    **Raises:** `ValueError` naming the argument and its shape if it has not exactly one axis.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"`{name}` has the shape {list(array.shape)}, but must have one axis: pass the series "
            "of one seed, such as `values[0]`."
        )
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(float)


def without_task_zero(
    series: Float[np.ndarray, " tasks"],
) -> tuple[Int[np.ndarray, " measured"], Float[np.ndarray, " measured"]]:
    """The measured tasks without task 0, at whose start the network is random, and their values."""
    tasks = np.flatnonzero(np.isfinite(series))
    tasks = tasks[tasks > 0]
    return tasks, series[tasks]


def common_tasks(
    several: Iterable[Float[np.ndarray, " tasks"]], num_tasks: int
) -> Bool[np.ndarray, " tasks"]:
    """The tasks that all series have measured. Series without any measurement are ignored."""
    common = np.ones(num_tasks, bool)
    for series in several:
        measured = np.isfinite(series)
        if measured.any():
            common &= measured
    return common


def _running_median(values: Float[np.ndarray, " measured"]) -> Float[np.ndarray, " measured"]:
    """Medians over `WINDOW` neighbours, fewer at the two ends."""
    reach, count = WINDOW // 2, len(values)
    smooth = np.empty(count)
    if count >= WINDOW:
        windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
        smooth[reach : count - reach] = np.sort(windows, axis=1)[:, reach]
    for i in {*range(min(reach, count)), *range(max(0, count - reach), count)}:
        smooth[i] = np.median(values[max(0, i - reach) : i + reach + 1])
    return smooth


def _early_level(
    tasks: Int[np.ndarray, " measured"], values: Float[np.ndarray, " measured"], num_tasks: int
) -> float:
    later = tasks > 0
    early = values[later & (tasks <= num_tasks // 10)]
    if not len(early):
        early = values[later][:1]
    return float(np.median(early)) if len(early) else np.nan
