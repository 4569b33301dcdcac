"""A progress bar."""

import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from .._history import History
from .._recorders import AbstractMeter


class ProgressBar(AbstractMeter):
    """A line on standard error that shows how far a run is, its pace, how long it still takes, and
    its latest accuracy (of an ensemble, the mean over the members that have not diverged).

    Nothing is shown where standard error is no terminal.

    ```python
    train_continual(model, stream, algo, meter=recording.ProgressBar(label="bp"))
    ```
    """

    _bar: Any

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
        """End the line of a run that has stopped before its end."""
        self._bar.close()


def _latest(history: History) -> str:
    for name in ("test_accuracy", "online_accuracy"):
        if name in history and len(history[name]):
            latest = history[name][-1]
            if np.isfinite(latest).any():
                return f"{name.replace('_', ' ')} {np.nanmean(latest):.3f}"
    return ""
