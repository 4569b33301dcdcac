"""Measures over tasks, as lines with confidence intervals."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from scipy.signal import savgol_filter

from ..._base._quantity import Quantity
from ..experiment._settings import SettingsError
from ..measures._interval import MIN_BAND_SEEDS, student_half_width
from ..measures._measure import measures, MOMENTS, PERFORMANCE
from ..measures._zero import zero_of
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
    """Draw a line over tasks for each algorithm that has recorded the measure, and a dotted line at
    the value of guessing if there is one.

    On a logarithmic axis a 0 is drawn at the smallest possible value above 0, and marked.
    `smooth` is the number of tasks of a Savitzky-Golay filter. It is ignored for measures other
    than those of performance.

    **Raises:** `SettingsError` if the filter does not fit the number of measured tasks.
    """
    quantity = measured(results)[name]
    smooth = smooth if quantity.figure == PERFORMANCE else None
    means, when = "", None
    if quantity.guess is not None:
        axes.axhline(quantity.guess, color="0.5", lw=0.8, ls=":", zorder=0.5)
    drawn = {}
    for algorithm, members in results.finished.items():
        known = [measures(member.history) for member in members]
        if all(name in row for row in known):
            drawn[algorithm] = [row[name] for row in known]
    every = [measure for known in drawn.values() for measure in known]
    zero = zero_of(every) if quantity.scale == "log" else None
    for algorithm, known in drawn.items():
        when = known[0].when
        tasks, by_seed = _measured_tasks(np.stack([measure.series for measure in known]), smooth)
        binned = 1 if smooth else max(1, len(tasks) // _MAX_POINTS)
        tasks, by_seed = _means(tasks[None], binned)[0], _means(by_seed, binned)
        text = label(results, algorithm)
        draw_mean(axes, tasks, by_seed, colours[algorithm], text, zero=zero)
        means = f" (means over {binned} tasks)" if binned > 1 else ""
    if smooth is not None:
        means += f"\nSavitzky-Golay filter over {smooth} tasks, quadratic"
    at = "" if when is None else f"\n{MOMENTS[when]}"
    axes.set(xlabel=f"Task{means}", ylabel=f"{quantity.axis}{at}", xmargin=0.01)
    if quantity.scale == "log":
        axes.set_yscale("log")
        axes.set_ylim(top=quantity.limits[1])
    else:
        axes.set_ylim(*quantity.limits)


def draw_mean(
    axes: Axes,
    x: np.ndarray,
    by_seed: np.ndarray,
    colour: str,
    label: str,
    *,
    zero: float | None = None,
) -> None:
    """Draw the mean over seeds as a line, and its 95 % confidence interval as a band.

    With fewer than five seeds, the seeds are drawn in the place of the band. `zero` is where a
    logarithmic axis shows a 0; values that are not above it are drawn there, and marked.
    """
    raised = lambda values: values if zero is None else np.maximum(values, zero)
    mean, half_width = by_seed.mean(axis=0), student_half_width(by_seed)
    axes.plot(x, raised(mean), color=colour, label=label)
    if len(by_seed) >= MIN_BAND_SEEDS:
        low, high = raised(mean - half_width), raised(mean + half_width)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    elif len(by_seed) > 1:
        axes.plot(x, raised(by_seed).T, color=colour, lw=0.5, alpha=0.6)
    lost = (by_seed <= 0).any(axis=0)
    if zero is not None and lost.any():
        axes.plot(
            x[lost], np.full(lost.sum(), zero), color=colour, marker="v", mfc="none", ms=4, ls=""
        )


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
