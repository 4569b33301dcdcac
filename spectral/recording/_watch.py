"""A warning when a recorded column crosses a threshold."""

import logging
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from .._arguments import check_count, check_finite_number, unknown_name
from .._history import History
from .._recorders import AbstractMeter
from ._progress import ProgressBar


class Watch(AbstractMeter):
    """Warns once when a column of the history is beyond a threshold.

    The logger `spectral` gets the warning, with the value and its task, and the progress bar shows
    it from then on. Rows of tasks in which the column was not measured are left out, and an array
    becomes one number for each task as its quantity says. In an ensemble each member is watched,
    and has its own warning. A run that is resumed warns again of what is in its history.

    The training does not change. `algorithms.SwitchedOn` acts on a sign.

    ```python
    bar = recording.ProgressBar(label="bp")
    watch = recording.Watch("dead.start.fraction", threshold=0.3, direction="above", bar=bar)
    meter = recording.Meters((watch, bar))
    measured = {"dead": probes.DeadUnits()}
    train_continual(model, stream, algo, probes=measured, meter=meter)
    ```

    **Arguments:**

    - `column`: the name in the history.
    - `threshold`, `direction`: the column crosses if it is `"above"` or `"below"` the threshold.
    - `relative`: the threshold is a multiple of the first value that is known.
    - `patience`: how many values in a row must be beyond the threshold.
    - `names`: what the warning calls the members of an ensemble. By default it has their index.
    - `bar`: the bar that shows the warning. In `Meters` it stands behind the watch.

    **Raises:** `ValueError` for a threshold that is not finite, an unknown direction or a patience
    below one; after the first tasks, for a column that nothing records, and for an array without a
    quantity.
    """

    def __init__(
        self,
        column: str,
        *,
        threshold: float,
        direction: Literal["above", "below"],
        relative: bool = False,
        patience: int = 1,
        names: Sequence[str] | None = None,
        bar: ProgressBar | None = None,
    ):
        check_finite_number("threshold", threshold)
        if direction not in ("above", "below"):
            raise ValueError(unknown_name("`direction`: Name", direction, ("above", "below")))
        check_count("patience", patience)
        self._column, self._bar, self._names = column, bar, names
        self._threshold, self._direction = threshold, direction
        self._relative, self._patience = relative, patience
        self._warned: set[int] = set()

    @property
    def column(self) -> str:
        """The name of the column in the history."""
        return self._column

    def update(self, done: int, total: int, history: History) -> None:
        if done == 0:
            return
        for member, series in enumerate(self._by_member(history)):
            if member not in self._warned and (found := self._crossing(series)):
                self._warned.add(member)
                name = f"member {member}" if self._names is None else self._names[member]
                self._warn(*found, f" in {name}" if history.members else "")

    def _by_member(self, history: History) -> list[np.ndarray]:
        """For each member, or for the run, one number for each task."""
        if self._column not in history:
            raise ValueError(
                unknown_name("`column`: Recorded column", self._column, history, most=8)
            )
        column = history[self._column]
        columns = list(column.swapaxes(0, 1)) if history.members else [column]
        quantity = history.quantities.get(self._column)
        if quantity is not None:
            return [quantity.series(one) for one in columns]
        if columns[0].ndim > 1:
            raise ValueError(
                f"`column` is {self._column!r}, an array of shape {columns[0].shape[1:]} for each "
                "task, but must be one number: watch another column, or declare by `reduce` in the "
                "`quantities` of its part how it becomes one number."
            )
        return columns

    def _crossing(self, series: Float[np.ndarray, " tasks"]) -> tuple[int, float, float] | None:
        """The task at which the series crosses, its value there, and the threshold."""
        known = np.flatnonzero(~np.isnan(series))
        values = series[known]
        threshold = (
            self._threshold * values[0] if self._relative and len(values) else self._threshold
        )
        beyond = values > threshold if self._direction == "above" else values < threshold
        in_a_row = 0
        for task, value, crosses in zip(known, values, beyond, strict=True):
            in_a_row = in_a_row + 1 if crosses else 0
            if in_a_row == self._patience:
                return int(task), float(value), float(threshold)
        return None

    def _warn(self, task: int, value: float, threshold: float, where: str) -> None:
        if self._bar is not None:
            self._bar.note(f"{self._column} {value:.3g} at task {task}{where}")
        # Bars are taken off the terminal while the line is written.
        with tqdm.external_write_mode(file=sys.stderr):
            logging.getLogger("spectral").warning(
                "`%s` is %.4g at task %d%s, %s the threshold %.4g.",
                *(self._column, value, task, where, self._direction, threshold),
            )
