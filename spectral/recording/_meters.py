"""Several meters as one."""

from .._history import History
from .._loop import AbstractMeter


class Meters(AbstractMeter):
    """Calls each of several meters, in their order.

    ```python
    bar, events = recording.ProgressBar(label="bp"), recording.TensorBoard("runs/mine")
    train_continual(model, stream, algo, meter=recording.Meters((bar, events)))
    ```
    """

    meters: tuple[AbstractMeter, ...]

    def update(self, done: int, total: int, history: History) -> None:
        for meter in self.meters:
            meter.update(done, total, history)
