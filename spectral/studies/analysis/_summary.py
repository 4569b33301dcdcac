"""The numbers that summarise a run."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..measures._interval import student_half_width
from ..measures._measure import last_fifth, mean_measured, Measure, measures, Series
from ..runs._results import Member, Results
from ._collapse import collapse_task, common_tasks
from ._drops import by_seed, drops_of, is_performance, leads
from ._finite import finite


def summarise(results: Results) -> dict[str, Any]:
    """For each algorithm, means over seeds and the tasks at which measures collapse.

    Returns a nested dictionary of plain Python objects, with `None` where there is no number:

    - `last_tasks`: the tasks [first, end) of the last fifth, over which measures are averaged.
    - `collapse_grid`: the tasks on which collapses are looked for: those that every compared series
      of every finished seed has measured. `tasks` is how many there are. `spacing` is the largest
      step between two of them, and therefore the resolution of every collapse.
    - `algorithms`, by name:
        - `finished`, `diverged`, `unfinished`: seeds. Only the finished ones enter the means.
        - `measures`, by name: `mean` over seeds, `half_width` of its 95 % interval (Student's t),
          and `by_seed`, in the order of `finished`. They are `None` for a measure without a value
          in the last fifth. `when` is the moment of the measurement (`start`, `end`, `whole`),
          `note` that of the quantity. For quantities with bounds there are also the means over
          seeds and tasks of `lower` and `upper`, and of `resolved` (whether they are narrow).
        - `collapse`, by name, for the quantities that are `compared`: `by_seed`, the results of
          `collapse_task` on the grid, and `median`, over the seeds that collapsed. The floor is
          what guessing gives. A quantity of which less is better is subtracted from its largest
          value, so `1 - dead units` is the fraction of active units.
        - `first`: for each seed, the names of the measures that collapsed first. Several names
          share the first task of the grid. Empty if none collapsed.
        - `drops`, by name, for the same quantities: by seed `found`, `p_value`, `task`, `low` and
          `high` of `collapse_test` on the grid, at its default rejection level. Of a grid of more
          than 100 tasks, medians of blocks are tested.
        - `lead_times`, by name, for the quantities that are not a performance: the result of
          `lead_time` for the tasks of the drops that were found, against those of the first
          performance that is compared, which is named in `before`. Empty without a performance.
    """
    algorithms = list(results.settings["algorithms"])
    num_tasks = max((m.history.num_tasks for m in results.members), default=0)
    finished = {
        a: [measures(m.history) for m in results.of(a, status="finished")] for a in algorithms
    }
    compared = (s for rs in finished.values() for r in rs for s, _ in _compared(r).values())
    grid = common_tasks(compared, num_tasks)
    return {
        "last_tasks": [num_tasks - max(1, num_tasks // 5), num_tasks],
        "collapse_grid": {
            "tasks": int(grid.sum()),
            "spacing": int(np.diff(np.flatnonzero(grid)).max()) if grid.sum() > 1 else None,
        },
        "algorithms": {a: _algorithm(results.of(a), finished[a], grid) for a in algorithms},
    }


def _algorithm(
    members: Sequence[Member],
    finished: list[dict[str, Measure]],
    grid: Bool[np.ndarray, " tasks"],
) -> dict[str, Any]:
    statuses = ("finished", "diverged", "unfinished")
    collapses = [_collapses(seed, grid) for seed in finished]
    drops = [drops_of(_on_grid(seed, grid)) for seed in finished]
    names = finished[0] if finished else ()
    compared = collapses[0] if collapses else ()
    performances = [n for n in compared if n in names and is_performance(finished[0][n])]
    return {
        **{status: [m.seed for m in members if m.status == status] for status in statuses},
        "measures": {name: _level([seed[name] for seed in finished]) for name in names},
        "collapse": {name: _median([seed[name] for seed in collapses]) for name in compared},
        "first": [_earliest(seed) for seed in collapses],
        "drops": {name: by_seed([seed[name] for seed in drops]) for name in compared},
        "lead_times": leads(drops, performances),
    }


def _compared(recorded: dict[str, Measure]) -> dict[str, tuple[Series, float]]:
    """The series whose collapses are compared, and the value to which each can fall."""
    found = {}
    for name, (series, _, _, quantity) in recorded.items():
        largest = quantity.limits[1]
        if quantity.compared and quantity.better != "lower":
            found[name] = series, quantity.guess or 0.0
        elif quantity.compared and largest is not None:
            floor = 0.0 if quantity.guess is None else largest - quantity.guess
            found[f"{largest:g} - {name}"] = largest - series, floor
    return found


def _collapses(recorded: dict[str, Measure], grid: Bool[np.ndarray, " tasks"]) -> dict[str, float]:
    return {
        name: collapse_task(series, floor=floor)
        for name, (series, floor) in _on_grid(recorded, grid).items()
    }


def _on_grid(
    recorded: dict[str, Measure], grid: Bool[np.ndarray, " tasks"]
) -> dict[str, tuple[Series, float]]:
    found = _compared(recorded).items()
    return {name: (np.where(grid, series, np.nan), floor) for name, (series, floor) in found}


def _earliest(collapses: dict[str, float]) -> list[str]:
    tasks = [t for t in collapses.values() if math.isfinite(t)]
    return [name for name, task in collapses.items() if tasks and task == min(tasks)]


def _level(by_seed: list[Measure]) -> dict[str, Any]:
    """The mean of a measure over the last fifth of the tasks, and its interval over seeds."""
    last = np.array([mean_measured(last_fifth(m.series)) for m in by_seed])
    bounds = {
        name: finite(np.mean([mean_measured(last_fifth(m.bounds[name])) for m in by_seed]))
        for name in by_seed[0].bounds
        if name != "smallest"  # of axes, not of the value
    }
    return {
        "mean": finite(np.mean(last)),
        "half_width": finite(student_half_width(last)),
        "by_seed": finite(last),
        "when": by_seed[0].when,
        "note": by_seed[0].quantity.note,
        **bounds,
    }


def _median(by_seed: list[float]) -> dict[str, Any]:
    known = [t for t in by_seed if math.isfinite(t)]
    median = float(np.median(known)) if known else None
    return {"median": median, "by_seed": finite(np.array(by_seed))}
