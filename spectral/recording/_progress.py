"""A progress bar."""

import sys
import warnings

import numpy as np
from tqdm import TqdmWarning

from .._history import History
from .._recorders import AbstractMeter


with warnings.catch_warnings():
    # In a notebook without ipywidgets the bar is text, which needs no warning.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

_IN_NOTEBOOK = "ipykernel.zmqshell" in sys.modules  # as `tqdm.auto` decides


class ProgressBar(AbstractMeter):
    """A progress bar on standard error with the speed, the remaining time and the latest value of
    the first quantity of which more or less is better, such as the accuracy.

    For an ensemble, the value is the mean over the members that have not diverged. In a Jupyter
    notebook the bar is a widget, or text if the package ipywidgets is not installed. Elsewhere
    nothing is shown if standard error is not a terminal.

    ```python
    train_continual(model, stream, algo, meter=recording.ProgressBar(label="bp"))
    ```
    """

    def __init__(self, *, label: str = ""):
        # The output of a notebook is not a terminal, but shows the bar.
        disable = False if _IN_NOTEBOOK else None
        self._bar = tqdm(desc=label, unit="task", disable=disable, file=sys.stderr, leave=True)
        self._note = ""

    def update(self, done: int, total: int, history: History) -> None:
        if self._bar.disable:
            return
        if self._bar.total is None:
            began = self._bar.start_t
            self._bar.reset(total=total)  # a widget learns its width from this
            self._bar.initial, self._bar.start_t = done, began
        self._bar.n = done
        shown = ", ".join(filter(None, (_latest(history), self._note)))
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.refresh()
        if done == total:
            self._bar.close()

    def note(self, text: str) -> None:
        """Show `text` behind the latest value, from the next update on."""
        self._note = text

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
