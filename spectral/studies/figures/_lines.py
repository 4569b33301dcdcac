"""Measures over tasks, as lines with intervals."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from scipy.signal import savgol_filter

from ..experiment._settings import SettingsError
from ..measures._interval import student_half_width
from ..measures._measures import EFFECTIVE_RANK, measures, MOMENTS
from ..runs._folder import Results
from ._panels import finished, label


PERFORMANCE = ("accuracy", "online accuracy")
UNITS = ("dead units", EFFECTIVE_RANK)
_LABELS = {
    "accuracy": "Accuracy",
    "online accuracy": "Online accuracy",
    "episode return": "Return of an episode",
    "dead units": "Dead units (fraction)",
    EFFECTIVE_RANK: "Effective rank (smallest of the layers)",
}
_FRACTIONS = (*PERFORMANCE, "dead units")
_POINTS = 50  # on a line: more tasks than that are averaged
_ORDER = 2  # of the polynomials of the Savitzky-Golay filter


def measured(results: Results) -> set[str]:
    """What a run that finished has measured."""
    probes = results.settings["probes"]
    return {n for _, ms in finished(results) for m in ms for n in measures(probes, m.history)}


def draw_measure(
    axes: Axes, results: Results, name: str, shades: Mapping[str, str], smooth: int | None
) -> None:
    """A line over tasks for each algorithm that measured something, in its colour."""
    probes = results.settings["probes"]
    means, when = "", None
    for algorithm, members in finished(results):
        rows = [measures(probes, m.history) for m in members]
        if all(name in row for row in rows):
            when = rows[0][name].when
            series = np.stack([row[name].series for row in rows])
            binned = _line(axes, series, shades[algorithm], label(results, algorithm), smooth)
            means = f" (means over {binned} tasks)" if binned > 1 else ""
    if smooth is not None:
        means += f"\nSavitzky-Golay filter over {smooth} tasks, quadratic"
    at = "" if when is None else f"\n{MOMENTS[when]}"
    axes.set(xlabel=f"Task{means}", ylabel=f"{_LABELS[name]}{at}", xmargin=0.01)
    if name in _FRACTIONS:
        axes.set_ylim(0.0, 1.0)
    elif name == EFFECTIVE_RANK:
        axes.set_ylim(0.0, None)


def _line(axes: Axes, by_seed: np.ndarray, colour: str, label: str, smooth: int | None) -> int:
    """Mean and interval over seeds. Returns how many measured tasks are averaged to a point."""
    tasks = np.flatnonzero(np.isfinite(by_seed).all(axis=0))
    if smooth is not None:
        if not _ORDER < smooth <= len(tasks):
            raise SettingsError(
                f"`--smooth` is {smooth}, but must be more than {_ORDER} and at most the "
                f"{len(tasks)} tasks that were measured."
            )
        by_seed = by_seed.copy()
        by_seed[:, tasks] = savgol_filter(by_seed[:, tasks], smooth, _ORDER)
    binned = 1 if smooth else max(1, len(tasks) // _POINTS)
    points = len(tasks) // binned
    # What is left over of the tasks, less than a point, is cut off at the beginning.
    tasks = tasks[len(tasks) - points * binned :]
    by_seed = by_seed[:, tasks].reshape(-1, points, binned).mean(axis=2)
    tasks = tasks.reshape(points, binned).mean(axis=1)
    mean, half_width = by_seed.mean(axis=0), student_half_width(by_seed)
    axes.plot(tasks, mean, color=colour, label=label)
    axes.fill_between(tasks, mean - half_width, mean + half_width, color=colour, alpha=0.2, lw=0)
    return binned
