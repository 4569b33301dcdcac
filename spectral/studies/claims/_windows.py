"""Parts of the sequence of tasks over which levels are averaged."""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from ..measures._measure import mean_measured


class Window(eqx.Module):
    """The tasks from one fraction of the sequence to another, at least one task. Task 0, whose
    network is random at its start, is left out if there is another.

    `text` names it in tables. `of` returns the mean of a series over the measured tasks in it.
    """

    begin: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    text: str = eqx.field(static=True)

    def of(self, series: Float[np.ndarray, " tasks"]) -> float:
        first = min(round(self.begin * len(series)), len(series) - 1)
        last = max(round(self.end * len(series)), first + 1)
        first = max(first, 1) if last > 1 else first
        return mean_measured(series[first:last])


EARLY = Window(0.0, 0.1, "first tenth")
MIDDLE = Window(0.4, 0.5, "last tenth of the first half")
LATE = Window(0.8, 1.0, "last fifth")
EARLY_CYCLES = Window(0.1, 0.3, "tasks 2 to 5")
FIRST = Window(0.0, 0.05, "task 0")
SECOND = Window(0.05, 0.15, "tasks 1 and 2")
END = Window(0.99, 1.0, "last task")
