"""The measures of a run: one number per task, computed from the columns of its history."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ..._history import History, mean_known


Series = Float[np.ndarray, " tasks"]
Moment = Literal["start", "end", "whole"]
Source = tuple[str, Callable[[np.ndarray], Series]]  # a column of a probe, and its reduction

MOMENTS: dict[Moment, str] = {
    "start": "start of task",
    "end": "end of task",
    "whole": "whole task",
}
ACCURACIES = ("accuracy", "online accuracy")  # in the order in which they are preferred
EFFECTIVE_RANK = "effective rank (smallest of the layers)"
EPSILON_RANK = "normalised epsilon-rank"
DEAD_UNITS = "dead units"


class Measure(NamedTuple):
    """One number per task, NaN for tasks without a measurement.

    - `series`: the numbers.
    - `when`: whether they were measured at the `"start"` or `"end"` of the task, or over the
      `"whole"` task.
    - `bounds`: the recorded columns among `lower`, `upper` and `resolved`, which tell how accurate
      the numbers are.
    """

    series: Series
    when: Moment
    bounds: dict[str, Series]


def measures(probes: Mapping[str, Any], history: History) -> dict[str, Measure]:
    """The measures of a history, by name.

    Contains, if they were recorded:

    - `accuracy`: on test rows at the end of the task;
    - `online accuracy`: on the training examples, before each step;
    - `episode return`: the mean over the rollouts of the task in which an episode ended;
    - `evaluation return`: of separate episodes at the end of the task;
    - from probes: `dead units` (fraction), `effective rank (smallest of the layers)`, `normalised
      epsilon-rank` (fraction of the eigenvalues) and `largest eigenvalue`, at the start of the task
      if the probe measures there, else at its end. If two probes are of the same type, the name of
      the probe is added in brackets.

    The effective rank is the smallest of the layers because the layers of a network do not collapse
    together, so their mean would hide the collapse of one.

    **Arguments:**

    - `probes`: the section of that name in the settings.
    """
    found: dict[str, Measure] = {}
    for name, (recorded, reduce, when) in _RECORDED.items():
        if recorded in history:
            found[name] = Measure(reduce(history[recorded]), when, {})
    for name, probe, kind, (what, reduce) in _sought(probes):
        known = probed(probe, what, history)
        if known is not None:
            when, column = known
            columns = {b: f"{probe}.{when}.{c}" for b, c in _BOUNDS.get(kind, {}).items()}
            bounds = {b: _mean(history[c]) for b, c in columns.items() if c in history}
            found[name] = Measure(reduce(column), when, bounds)
    return found


def measure_names(probes: Mapping[str, Any]) -> list[str]:
    """All names that `measures` can return for these probes."""
    return [*_RECORDED, *(name for name, *_ in _sought(probes))]


def probed(probe: str, what: str, history: History) -> tuple[Moment, np.ndarray] | None:
    """The column `what` of a probe and when it was measured: at the start of tasks if it was
    recorded there, else at their end. `None` if it was not recorded."""
    moments: tuple[Moment, ...] = ("start", "end")
    return next(((w, history[c]) for w in moments if (c := f"{probe}.{w}.{what}") in history), None)


def accuracy(history: History) -> Series | None:
    """The accuracy of each task: on test rows, else online; `None` if neither was recorded."""
    found = measures({}, history)
    return next((found[name].series for name in ACCURACIES if name in found), None)


def is_fraction(name: str) -> bool:
    """Whether the measure of this name lies between 0 and 1."""
    return name.split(" (")[0] in (*ACCURACIES, DEAD_UNITS, EPSILON_RANK)


def last_fifth(series: Series) -> Float[np.ndarray, " last"]:
    """The last fifth of the tasks, at least one task."""
    return series[-max(1, len(series) // 5) :]


def mean_measured(series: Float[np.ndarray, " _"]) -> float:
    """The mean over the tasks with a measurement; NaN if there is none."""
    known = series[np.isfinite(series)]
    return float(np.mean(known)) if len(known) else np.nan


def _sought(probes: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Source]]:
    """The name of each measure of the probes, the probe, the key in `_PROBED`, and the source."""
    types = [section["type"] for section in probes.values()]
    for probe, section in probes.items():
        for kind, source in _PROBED.get(section["type"], {}).items():
            alone = types.count(section["type"]) == 1
            yield kind if alone else f"{kind} ({probe})", probe, kind, source


def _mean(column: np.ndarray) -> Series:
    return column.reshape(len(column), -1).mean(axis=1)


def _smallest(column: np.ndarray) -> Series:
    return column.reshape(len(column), -1).min(axis=1)


# By measure: the column of the history, its reduction to one number per task, and the moment.
_RECORDED: dict[str, tuple[str, Callable[[np.ndarray], Series], Moment]] = {
    "accuracy": ("test_accuracy", _mean, "end"),
    "online accuracy": ("online_accuracy", _mean, "whole"),
    "episode return": ("episode_return", mean_known, "whole"),
    "evaluation return": ("evaluation_return", _mean, "end"),
}
# By type of probe.
_PROBED: dict[str, dict[str, Source]] = {
    "DeadUnits": {DEAD_UNITS: ("fraction", _mean)},
    "FeatureRank": {EFFECTIVE_RANK: ("feature_effective_rank", _smallest)},
    "HessianSpectrum": {
        EPSILON_RANK: ("normalised_epsilon_rank", _mean),
        "largest eigenvalue": ("extremes", lambda column: column[:, 1]),
    },
}
_BOUNDS = {
    EPSILON_RANK: {
        "lower": "normalised_epsilon_rank_lower",
        "upper": "normalised_epsilon_rank_upper",
        "resolved": "resolved",
    }
}
