"""The tested drops of the compared quantities of a run, and their lead times."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..measures._measure import Measure, PERFORMANCE, Series
from ._collapse import without_task_zero
from ._collapse_test import collapse_test, CollapseTest
from ._finite import finite
from ._lead_time import lead_time


LONGEST = 100  # tested values


def drops_of(compared: Mapping[str, tuple[Series, float]]) -> dict[str, CollapseTest]:
    """The test of each series, which comes with its floor."""
    return {name: collapse_test(blocks(s), floor=floor) for name, (s, floor) in compared.items()}


def blocks(series: Series) -> Series:
    """The series, or if more than 100 of its tasks are measured, medians of blocks of them.

    The time of a test grows with the number of permuted values. Each median stands at the first
    task of its block. If the noise is independent between tasks, then it is between blocks, so the
    test keeps its rate of false alarms. The task of a drop is known up to a block.
    """
    tasks, values = without_task_zero(series)
    size = -(-len(tasks) // LONGEST)
    if size <= 1:
        return series
    # All blocks have one size, so the first values are left out if they are too few for a block.
    first = len(tasks) % size
    result = np.full(len(series), np.nan)
    result[tasks[first::size]] = np.median(values[first:].reshape(-1, size), axis=1)
    return result


def by_seed(tests: Sequence[CollapseTest]) -> dict[str, Any]:
    """The numbers of one quantity as lists over the seeds."""
    kinds = ("p_value", "task", "low", "high")
    numbers = {kind: finite(np.array([getattr(t, kind) for t in tests])) for kind in kinds}
    return {"found": [t.found for t in tests]} | numbers


def is_performance(measure: Measure) -> bool:
    """Whether the measure says how well tasks were learned."""
    return measure.quantity.figure == PERFORMANCE


def leads(
    drops: Sequence[Mapping[str, CollapseTest]], performances: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The lead times of the drops that were found, against those of the first performance."""
    if not performances:
        return {}
    second = _tasks(drops, performances[0])
    plain = lambda value: value if isinstance(value, int) else finite(value)
    return {
        name: {"before": performances[0]}
        | {k: plain(v) for k, v in lead_time(_tasks(drops, name), second)._asdict().items()}
        for name in drops[0]
        if name not in performances
    }


def _tasks(drops: Sequence[Mapping[str, CollapseTest]], name: str) -> Series:
    return np.array([seed[name].task if seed[name].found else np.nan for seed in drops])
