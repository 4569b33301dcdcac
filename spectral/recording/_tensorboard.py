"""Event files for TensorBoard."""

import os
import pathlib
from collections.abc import Sequence

from tensorboardX import SummaryWriter

from .._history import History
from .._recorders import AbstractMeter
from ._scalars import NewScalars


class TensorBoard(AbstractMeter):
    """Writes the scalars of every task to TensorBoard event files in `folder/events`.

    Values per chunk are averaged over the task. Columns with further axes, such as spectra, are
    left out. The step of an event is the index of the task. View the files with
    `tensorboard --logdir FOLDER/events`.

    ```python
    train_continual(model, stream, algo, meter=recording.TensorBoard("runs/mine"))
    ```

    **Arguments:**

    - `names`: algorithm and seed of each member of an ensemble. The files of a member are in
      `folder/events/algorithm/seed_0`. `None` for a single run.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, names: Sequence[tuple[str, int]] | None = None
    ):
        events = pathlib.Path(folder) / "events"
        paths = [events] if names is None else [events / n / f"seed_{seed}" for n, seed in names]
        self._writers = [SummaryWriter(str(path)) for path in paths]
        self._new_scalars = NewScalars(None if names is None else len(names))

    def update(self, done: int, total: int, history: History) -> None:
        for writer, tasks in zip(self._writers, self._new_scalars(done, history), strict=True):
            for task, scalars in tasks:
                for name, value in scalars.items():
                    writer.add_scalar(name.replace(".", "/"), value, task)
            writer.flush()
            if done == total:
                writer.close()
