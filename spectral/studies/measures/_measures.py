"""Which numbers of a history an experimenter looks at, task by task."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ..._history import History, mean_known


Series = Float[np.ndarray, " tasks"]
Moment = Literal["start", "end", "whole"]
Source = tuple[str, Callable[[np.ndarray], Series]]  # a column of a probe, and how it is reduced

MOMENTS: dict[Moment, str] = {
    "start": "start of task",
    "end": "end of task",
    "whole": "whole task",
}
EFFECTIVE_RANK = "effective rank (smallest of the layers)"


class Measure(NamedTuple):
    """One number per task, NaN where it was not measured, and when in the task it was.

    - `series`: the numbers.
    - `when`: `"start"` or `"end"` of the task, or the `"whole"` of it.
    - `bounds`: further columns that say how good the numbers are, as far as they were recorded:
      `lower`, `upper`, `resolved`.
    """

    series: Series
    when: Moment
    bounds: dict[str, Series]


def measures(probes: Mapping[str, Any], history: History) -> dict[str, Measure]:
    """By name, what was measured.

    Those are, as far as they were recorded: `accuracy` (on test rows at the end of the task),
    `online accuracy`, `episode return` (mean over the rollouts of a task in which an episode
    ended), `evaluation return` (of separate episodes at the end of the task), and from probes, at
    the start of tasks where they measure there and else at the end: `dead units` (fraction),
    `effective rank (smallest of the layers)`, `normalised epsilon-rank` (fraction of the
    eigenvalues), `largest eigenvalue`. Where two probes measure the same, their names are added.

    The layers of a network do not collapse together: a mean over them hides that some did.

    `probes` is that section of the settings.
    """
    found: dict[str, Measure] = {}
    for name, (recorded, reduce, when) in _RECORDED.items():
        if recorded in history:
            found[name] = Measure(reduce(history[recorded]), when, {})
    for key, probe, label, (what, reduce) in _sought(probes):
        known = probed(probe, what, history)
        if known is not None:
            when, column = known
            columns = {b: f"{probe}.{when}.{c}" for b, c in _BOUNDS.get(label, {}).items()}
            bounds = {b: _mean(history[c]) for b, c in columns.items() if c in history}
            found[key] = Measure(reduce(column), when, bounds)
    return found


def measure_names(probes: Mapping[str, Any]) -> list[str]:
    """All names that `measures` can give where there are these probes."""
    return [*_RECORDED, *(key for key, *_ in _sought(probes))]


def probed(probe: str, what: str, history: History) -> tuple[Moment, np.ndarray] | None:
    """When in tasks a probe recorded something, and what: their start, or else their end."""
    moments: tuple[Moment, ...] = ("start", "end")
    return next(((w, history[c]) for w in moments if (c := f"{probe}.{w}.{what}") in history), None)


def _sought(probes: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Source]]:
    """What probes can measure: its name, the probe, its name among `_PROBED`, and where it is."""
    types = [section["type"] for section in probes.values()]
    for name, section in probes.items():
        for label, source in _PROBED.get(section["type"], {}).items():
            alone = types.count(section["type"]) == 1
            yield label if alone else f"{label} ({name})", name, label, source


def _mean(column: np.ndarray) -> Series:
    return column.reshape(len(column), -1).mean(axis=1)


def _smallest(column: np.ndarray) -> Series:
    return column.reshape(len(column), -1).min(axis=1)


# A column of the history, how it becomes one number per task, and when it is measured.
_RECORDED: dict[str, tuple[str, Callable[[np.ndarray], Series], Moment]] = {
    "accuracy": ("test_accuracy", _mean, "end"),
    "online accuracy": ("online_accuracy", _mean, "whole"),
    "episode return": ("episode_return", mean_known, "whole"),
    "evaluation return": ("evaluation_return", _mean, "end"),
}
_PROBED: dict[str, dict[str, Source]] = {
    "DeadUnits": {"dead units": ("fraction", _mean)},
    "FeatureRank": {EFFECTIVE_RANK: ("feature_effective_rank", _smallest)},
    "HessianSpectrum": {
        "normalised epsilon-rank": ("normalised_epsilon_rank", _mean),
        "largest eigenvalue": ("extremes", lambda column: column[:, 1]),
    },
}
_BOUNDS = {
    "normalised epsilon-rank": {
        "lower": "normalised_epsilon_rank_lower",
        "upper": "normalised_epsilon_rank_upper",
        "resolved": "resolved",
    }
}
