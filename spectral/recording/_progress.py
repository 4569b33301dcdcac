"""A progress bar."""

import sys

import numpy as np
from tqdm import tqdm

from .._history import History
from .._recorders import AbstractMeter


class ProgressBar(AbstractMeter):
    """A progress bar on standard error with the speed, the remaining time and the latest value of
    the first quantity of which more or less is better, such as the accuracy.

    For an ensemble, the value is the mean over the members that have not diverged. Nothing is
    shown if standard error is not a terminal.

    ```python
    train_continual(model, stream, algo, meter=recording.ProgressBar(label="bp"))
    ```
    """

    def __init__(self, *, label: str = ""):
        self._bar = tqdm(desc=label, unit="task", disable=None, file=sys.stderr, leave=True)

    def update(self, done: int, total: int, history: History) -> None:
        if self._bar.total is None:
            self._bar.total, self._bar.initial = total, done
        self._bar.n = done
        self._bar.set_postfix_str(_latest(history), refresh=False)
        self._bar.refresh()
        if done == total:
            self._bar.close()

    def close(self) -> None:
        """End the line. Call this if the run stops before its last task."""
        self._bar.close()


def _latest(history: History) -> str:
    for name, quantity in history.quantities.items():
        if quantity.better is not None and name in history and len(history[name]):
            latest = history[name][-1]
            if np.isfinite(latest).any():
                return f"{quantity.label} {np.nanmean(latest):.3f}"
    return ""
