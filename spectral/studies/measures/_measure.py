"""The measures of a run: one number per task for each quantity that it has recorded."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ..._base._quantity import Quantity
from ..._history import History


Series = Float[np.ndarray, " tasks"]
Moment = Literal["start", "end", "whole"]

MOMENTS: dict[Moment, str] = {
    "start": "start of task",
    "end": "end of task",
    "whole": "whole task",
}
PERFORMANCE = "performance"  # the figure of the quantities that say how well a task was learned


class Measure(NamedTuple):
    """One number per task, NaN for tasks without a measurement.

    - `series`: the numbers.
    - `when`: whether they were measured at the `"start"` or `"end"` of the task, or over the
      `"whole"` task.
    - `bounds`: the recorded ones among `lower`, `upper` and `resolved`, which tell how accurate the
      numbers are, and `smallest`, the smallest possible number above 0.
    - `quantity`: what the numbers are.
    """

    series: Series
    when: Moment
    bounds: dict[str, Series]
    quantity: Quantity


def measures(history: History) -> dict[str, Measure]:
    """The measures of a history, by name, in the order of its quantities.

    The name is the label of the quantity. If several probes have the same, the name of the probe is
    added in brackets. A quantity that was recorded at the start and at the end of tasks is that of
    the start.
    """
    found = {}
    for name, column in measured_columns(history.quantities).items():
        quantity = history.quantities[column]
        if column in history:
            bounds = {
                bound: _mean(history[other])
                for bound, other in quantity.bounds.items()
                if other in history
            }
            values = history[column]
            found[name] = Measure(
                quantity.series(values), moment_of(column, values), bounds, quantity
            )
    return found


def measured_columns(quantities: Mapping[str, Quantity]) -> dict[str, str]:
    """The column of each measure, by its name."""
    chosen: dict[tuple[str, str], str] = {}
    for column in quantities:
        chosen.setdefault(_place(column), column)
    labels = [quantities[column].label for column in chosen.values()]
    named = {}
    for (part, _), column in chosen.items():
        label = quantities[column].label
        named[label if labels.count(label) == 1 or not part else f"{label} ({part})"] = column
    return named


def performance(history: History) -> Measure | None:
    """The first recorded measure of how well tasks were learned; `None` if there is none."""
    found = measures(history).values()
    return next((m for m in found if m.quantity.figure == PERFORMANCE), None)


def last_fifth(series: Series) -> Float[np.ndarray, " last"]:
    """The last fifth of the tasks, at least one task."""
    return series[-max(1, len(series) // 5) :]


def mean_measured(series: Float[np.ndarray, " _"]) -> float:
    """The mean over the tasks with a measurement; NaN if there is none."""
    known = series[np.isfinite(series)]
    return float(np.mean(known)) if len(known) else np.nan


def part_of(column: str) -> str:
    """The probe or transform that recorded a column; empty for the stream."""
    return _place(column)[0]


def _place(column: str) -> tuple[str, str]:
    """The probe or transform of a column (empty for the stream), and the name that it gave."""
    if "." not in column:
        return "", column
    parts = column.rsplit(".", 2)  # probe, moment and name; or transform and name
    return parts[0], parts[-1]


def moment_of(column: str, values: np.ndarray) -> Moment:
    if column.count(".") > 1:
        when = column.rsplit(".", 2)[1]
        return "start" if when == "start" else "end"
    return "whole" if values.ndim > 1 else "end"


def _mean(column: np.ndarray) -> Series:
    return column.reshape(len(column), -1).mean(axis=1)
