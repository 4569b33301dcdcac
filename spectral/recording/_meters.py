"""Several meters as one."""

from collections.abc import Sequence

from .._history import History
from .._recorders import AbstractMeter


class Meters(AbstractMeter):
    """Calls several meters, in the order in which they are given.

    ```python
    bar, events = recording.ProgressBar(label="bp"), recording.TensorBoard("runs/mine")
    train_continual(model, stream, algo, meter=recording.Meters((bar, events)))
    ```
    """

    def __init__(self, meters: Sequence[AbstractMeter]):
        self._meters = tuple(meters)

    def update(self, done: int, total: int, history: History) -> None:
        for meter in self._meters:
            meter.update(done, total, history)
