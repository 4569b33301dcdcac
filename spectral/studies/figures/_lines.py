"""Measures over tasks, as lines with confidence intervals."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from scipy.signal import savgol_filter

from ..._base._quantity import Quantity
from ..experiment._settings import SettingsError
from ..measures._interval import student_half_width
from ..measures._measure import measures, MOMENTS, PERFORMANCE
from ..runs._results import Results
from ._legend import label


_MAX_POINTS = 50  # of a line: more tasks are averaged in groups
_ORDER = 2  # of the polynomials of the Savitzky-Golay filter


def measured(results: Results) -> dict[str, Quantity]:
    """What the finished members have recorded, by the names of the measures."""
    return {
        name: measure.quantity
        for members in results.finished.values()
        for member in members
        for name, measure in measures(member.history).items()
    }


def of_figure(results: Results, figure: str) -> list[str]:
    """The measures of a run that are panels of a figure."""
    return [name for name, quantity in measured(results).items() if quantity.figure == figure]


def draw_measure(
    axes: Axes, results: Results, name: str, colours: Mapping[str, str], smooth: int | None
) -> None:
    """Draw a line over tasks for each algorithm that has recorded the measure.

    `smooth` is the number of tasks of a Savitzky-Golay filter. It is ignored for measures other
    than those of performance.

    **Raises:** `SettingsError` if the filter does not fit the number of measured tasks.
    """
    quantity = measured(results)[name]
    smooth = smooth if quantity.figure == PERFORMANCE else None
    means, when = "", None
    for algorithm, members in results.finished.items():
        rows = [measures(m.history) for m in members]
        if all(name in row for row in rows):
            when = rows[0][name].when
            tasks, by_seed = _measured_tasks(np.stack([row[name].series for row in rows]), smooth)
            binned = 1 if smooth else max(1, len(tasks) // _MAX_POINTS)
            tasks, by_seed = _means(tasks[None], binned)[0], _means(by_seed, binned)
            draw_mean(axes, tasks, by_seed, colours[algorithm], label(results, algorithm))
            means = f" (means over {binned} tasks)" if binned > 1 else ""
    if smooth is not None:
        means += f"\nSavitzky-Golay filter over {smooth} tasks, quadratic"
    at = "" if when is None else f"\n{MOMENTS[when]}"
    axes.set(xlabel=f"Task{means}", ylabel=f"{quantity.axis}{at}", xmargin=0.01)
    if quantity.scale == "log":
        axes.set_yscale("log")
    else:
        axes.set_ylim(*quantity.limits)


def draw_mean(axes: Axes, x: np.ndarray, by_seed: np.ndarray, colour: str, label: str) -> None:
    """Draw the mean over seeds as a line, and its 95 % confidence interval as a band."""
    mean, half_width = by_seed.mean(axis=0), student_half_width(by_seed)
    axes.plot(x, mean, color=colour, label=label)
    axes.fill_between(x, mean - half_width, mean + half_width, color=colour, alpha=0.2, lw=0)


def _measured_tasks(by_seed: np.ndarray, smooth: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The tasks that all seeds have measured, and their values: `[seeds, tasks]`."""
    tasks = np.flatnonzero(np.isfinite(by_seed).all(axis=0))
    by_seed = by_seed[:, tasks]
    if smooth is None:
        return tasks, by_seed
    if not _ORDER < smooth <= len(tasks):
        raise SettingsError(
            f"`--smooth` is {smooth}, but must be more than {_ORDER} and at most the "
            f"{len(tasks)} tasks that were measured."
        )
    return tasks, np.asarray(savgol_filter(by_seed, smooth, _ORDER))


def _means(rows: np.ndarray, count: int) -> np.ndarray:
    """Means over `count` neighbours in each row. The first values are left out if they do not fill
    a group."""
    points = rows.shape[1] // count
    return rows[:, rows.shape[1] - points * count :].reshape(len(rows), points, count).mean(axis=2)
