"""Several meters as one."""

from .._history import History
from .._loop import AbstractMeter


class Meters(AbstractMeter):
    """Calls each of several meters, in their order.

    ```python
    meter = recording.Meters((recording.ProgressBar("bp"), recording.TensorBoard("runs/events")))
    ```
    """

    meters: tuple[AbstractMeter, ...]

    def update(self, done: int, total: int, history: History) -> None:
        for meter in self.meters:
            meter.update(done, total, history)
