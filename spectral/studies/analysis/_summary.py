"""The numbers that sum up a run."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..measures._interval import student_half_width
from ..measures._measures import EFFECTIVE_RANK, Measure, measures, Series
from ..runs._folder import Member, Results
from ._collapse import collapse_task, common_tasks


def summarise(results: Results) -> dict[str, Any]:
    """For each algorithm, means over seeds and the tasks at which something collapses.

    A plain nested dictionary, with `None` where there is no number:

    - `last_tasks`: the tasks averaged, [first, end): the last fifth.
    - `collapse_grid`: the tasks on which collapses are looked for, which are those that every
      compared series of every finished seed has measured: their number `tasks`, and their
      `spacing`, the largest step from one to the next. No collapse is known more exactly than that.
    - `algorithms`, by name:
        - `finished`, `diverged`, `unfinished`: seeds. Those that did not finish are in no mean.
        - `measures`, by name: `mean` over seeds, `half_width` of the 95 % interval (Student's t),
          and `by_seed`, in the order of `finished`. `None` if not measured in the last fifth. Also
          `when` in the task it was measured (`start`, `end`, `whole`), and for normalised
          epsilon-rank, as far as recorded, the means over seeds and tasks of its bracket, `lower`
          and `upper`, and of `resolved`, whether that is narrow.
        - `collapse`, by name, of accuracy, online accuracy, active units (1 minus the fraction of
          dead ones), effective rank and normalised epsilon-rank: `by_seed`, the tasks that
          `collapse_task` finds on the grid, and their `median` over the seeds that collapsed.
          Accuracies are taken above that of guessing.
        - `first`: for each seed, what collapsed first: all those that share the first task of the
          grid; empty for nothing.
    """
    probes = results.settings["probes"]
    num_tasks = max((m.history.num_tasks for m in results.members), default=0)
    first = num_tasks - max(1, num_tasks // 5)
    chance = results.settings.get("recorded", {}).get("chance_accuracy", 0.0)
    recorded_by_all = {
        a: [measures(probes, m.history) for m in results.of(a) if m.status == "finished"]
        for a in results.settings["algorithms"]
    }
    series = (s for rs in recorded_by_all.values() for r in rs for s, _ in _compared(r).values())
    grid = common_tasks(series, num_tasks)

    def algorithm(members: tuple[Member, ...], recorded: list[dict[str, Measure]]):
        names = list(recorded[0]) if recorded else []
        collapses = [_collapses(r, grid, chance) for r in recorded]
        return {
            **{s: [m.seed for m in members if m.status == s] for s in _STATUSES},
            "measures": {n: _measure([r[n] for r in recorded], first) for n in names},
            "collapse": {
                n: _median([c[n] for c in collapses]) for n in (collapses[0] if collapses else ())
            },
            "first": [_earliest(c) for c in collapses],
        }

    return {
        "last_tasks": [first, num_tasks],
        "collapse_grid": {
            "tasks": int(grid.sum()),
            "spacing": int(np.diff(np.flatnonzero(grid)).max()) if grid.sum() > 1 else None,
        },
        "algorithms": {a: algorithm(results.of(a), r) for a, r in recorded_by_all.items()},
    }


_STATUSES = ("finished", "diverged", "unfinished")


def _last(series: Series, first: int) -> float:
    values = series[first:]
    values = values[np.isfinite(values)]
    return float(np.mean(values)) if len(values) else math.nan


def _compared(recorded: dict[str, Measure]) -> dict[str, tuple[Series, bool]]:
    """The series of which collapses are compared, and whether guessing is their floor."""
    found = {}
    for name, measure in recorded.items():
        if name in ("accuracy", "online accuracy"):
            found[name] = measure.series, True
        elif name.startswith(("normalised epsilon-rank", EFFECTIVE_RANK)):
            found[name] = measure.series, False
        elif name.startswith("dead units"):
            found[name.replace("dead units", "active units")] = 1 - measure.series, False
    return found


def _collapses(
    recorded: dict[str, Measure], grid: Bool[np.ndarray, " tasks"], chance: float
) -> dict[str, float]:
    return {
        name: collapse_task(np.where(grid, series, np.nan), floor=chance if guessed else 0.0)
        for name, (series, guessed) in _compared(recorded).items()
    }


def _earliest(collapses: dict[str, float]) -> list[str]:
    tasks = [t for t in collapses.values() if math.isfinite(t)]
    return [name for name, task in collapses.items() if tasks and task == min(tasks)]


def _measure(by_seed: list[Measure], first: int) -> dict[str, Any]:
    last = [_last(m.series, first) for m in by_seed]
    bounds = {
        name: _number(float(np.mean([_last(m.bounds[name], first) for m in by_seed])))
        for name in by_seed[0].bounds
    }
    return {
        "mean": _number(float(np.mean(last))),
        "half_width": _number(float(student_half_width(np.array(last)))),
        "by_seed": _numbers(last),
        "when": by_seed[0].when,
        **bounds,
    }


def _median(by_seed: list[float]) -> dict[str, Any]:
    known = [t for t in by_seed if math.isfinite(t)]
    return {"median": float(np.median(known)) if known else None, "by_seed": _numbers(by_seed)}


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(v) for v in values]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
