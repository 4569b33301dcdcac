"""Several meters as one."""

from collections.abc import Sequence

from .._history import History
from .._recorders import AbstractMeter


class Meters(AbstractMeter):
    """Calls each of several meters, in their order.

    ```python
    bar, events = recording.ProgressBar(label="bp"), recording.TensorBoard("runs/mine")
    train_continual(model, stream, algo, meter=recording.Meters((bar, events)))
    ```
    """

    def __init__(self, meters: Sequence[AbstractMeter]):
        self.meters = tuple(meters)

    def update(self, done: int, total: int, history: History) -> None:
        for meter in self.meters:
            meter.update(done, total, history)
