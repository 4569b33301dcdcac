"""The lines of the report: measures over tasks, in no more numbers than a panel has pixels."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..analysis._finite import finite
from ..measures._interval import MIN_BAND_SEEDS, student_half_width
from ..measures._measure import Measure, measures, MOMENTS
from ..measures._zero import zero_of
from ..runs._results import Member


COLUMNS = 270  # pixels between the axes of a panel
DIGITS = 5  # of the numbers in the page


def curves(members: Sequence[Member], *, num_tasks: int) -> dict[str, dict[str, Any]]:
    """The lines of one algorithm for each measure that it has recorded.

    The tasks from 0 to `num_tasks` are the columns of pixels of a panel. A line has the smallest
    and the largest value in each column, so that no peak is lost.

    **Returns:** by the name of the measure,

    - `tasks`: the first measured task of each column with a measurement;
    - `seeds`: a line for each seed;
    - `mean`: the line of the mean over the seeds that finished, `band` that of its interval, and
      `bracket` that of the mean bounds; `None` where they do not exist. The interval needs at least
      five seeds.

    A line is a dictionary of `low`, `high` and, for seeds, `mean`, the values in each column. Only
    `low` is there if each column has one task.
    """
    recorded = {m.seed: measures(m.history) for m in members}
    finished = [m.seed for m in members if m.status == "finished"]
    found = {}
    for name in dict.fromkeys(name for known in recorded.values() for name in known):
        own = {seed: known[name] for seed, known in recorded.items() if name in known}
        length = max(len(measure.series) for measure in own.values())
        padded = {seed: _padded(measure.series, length) for seed, measure in own.items()}
        tasks = np.flatnonzero(np.isfinite(np.stack(list(padded.values()))).any(axis=0))
        starts = _starts(tasks, num_tasks)
        averaged = [seed for seed in finished if seed in padded]
        mean = np.stack([padded[s][tasks] for s in averaged]).mean(axis=0) if averaged else None
        found[name] = {
            "tasks": tasks[starts].tolist(),
            "seeds": {s: _line(x[tasks], starts, mean=True) for s, x in padded.items()},
            "mean": _line(mean, starts) if mean is not None and len(averaged) > 1 else None,
            "band": None,
            "bracket": _bracket([own[s] for s in averaged], tasks, starts),
        }
        if mean is not None and len(averaged) >= MIN_BAND_SEEDS:
            half_width = student_half_width(np.stack([padded[s][tasks] for s in averaged]))
            found[name]["band"] = _range(mean - half_width, mean + half_width, starts)
    return found


def panels(members: Iterable[Member]) -> list[dict[str, Any]]:
    """What the panels of the measures are that these members have recorded.

    `zero` is where a logarithmic axis shows a 0; `None` for a linear axis.
    """
    found: dict[str, list[Measure]] = {}
    for member in members:
        for name, measure in measures(member.history).items():
            found.setdefault(name, []).append(measure)
    return [
        {
            "name": name,
            "when": MOMENTS[own[0].when],
            "limits": own[0].quantity.limits,
            "guess": own[0].quantity.guess,
            "zero": zero_of(own) if own[0].quantity.scale == "log" else None,
            "bracket": "lower" in own[0].bounds and "upper" in own[0].bounds,
        }
        for name, own in found.items()
    ]


def _padded(series: Float[np.ndarray, " tasks"], length: int) -> Float[np.ndarray, " padded"]:
    return np.concatenate([series, np.full(length - len(series), np.nan)])


def _starts(tasks: Int[np.ndarray, " tasks"], num_tasks: int) -> Int[np.ndarray, " columns"]:
    """The index of the first task of each column that has one."""
    column = tasks * COLUMNS // max(num_tasks, COLUMNS)
    return np.flatnonzero(np.diff(column, prepend=-1))


def _line(
    values: Float[np.ndarray, " tasks"], starts: Int[np.ndarray, " columns"], *, mean: bool = False
) -> dict[str, Any]:
    line = _range(values, values, starts)
    if len(starts) == len(values):
        return {"low": line["low"]}
    if mean:
        known = np.isfinite(values)
        count = np.add.reduceat(known.astype(int), starts)
        total = np.add.reduceat(np.where(known, values, 0.0), starts)
        mean_of = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        line["mean"] = finite(mean_of, digits=DIGITS)
    return line


def _range(
    low: Float[np.ndarray, " tasks"],
    high: Float[np.ndarray, " tasks"],
    starts: Int[np.ndarray, " columns"],
) -> dict[str, Any]:
    """The smallest of `low` and the largest of `high` in each column, without NaN."""
    if not len(starts):
        return {"low": [], "high": []}
    return {
        "low": finite(np.fmin.reduceat(low, starts), digits=DIGITS),
        "high": finite(np.fmax.reduceat(high, starts), digits=DIGITS),
    }


def _bracket(
    own: Sequence[Measure], tasks: Int[np.ndarray, " tasks"], starts: Int[np.ndarray, " columns"]
) -> dict[str, Any] | None:
    """The means over seeds of the bounds of a measure."""
    if not own or not all({"lower", "upper"} <= measure.bounds.keys() for measure in own):
        return None
    length = max(len(measure.series) for measure in own)
    length = max(length, int(tasks[-1]) + 1) if len(tasks) else length
    low, high = (
        np.stack([_padded(measure.bounds[end], length)[tasks] for measure in own]).mean(axis=0)
        for end in ("lower", "upper")
    )
    return _range(low, high, starts)
