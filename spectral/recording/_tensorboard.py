"""Event files for TensorBoard."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tensorboardX import SummaryWriter

from .._history import History
from .._recorders import AbstractMeter
from ._scalars import scalars


class TensorBoard(AbstractMeter):
    """Writes the numbers of every task as TensorBoard's event files, into `folder/events`.

    Numbers of a chunk are averaged over the task, and what is no single number for each task or
    chunk, such as a spectrum, is left out. The step is the number of the task. Look at them with
    `tensorboard --logdir FOLDER/events`.

    ```python
    train_continual(model, stream, algo, meter=recording.TensorBoard("runs/mine"))
    ```

    **Arguments:**

    - `names`: algorithm and seed of each member of an ensemble, each of which gets files in
      `folder/events/algorithm/seed_0`; by default it is a run of its own.
    """

    _writers: list[Any]
    _alone: bool
    _done: int | None

    def __init__(
        self, folder: str | os.PathLike[str], *, names: Sequence[tuple[str, int]] | None = None
    ):
        events = pathlib.Path(folder) / "events"
        own = [events / name / f"seed_{seed}" for name, seed in names or ()]
        self._writers = [SummaryWriter(str(path)) for path in own or [events]]
        self._alone = names is None
        self._done = None

    def update(self, done: int, total: int, history: History) -> None:
        # What was recorded before a run was resumed has been written then.
        first = done if self._done is None else self._done
        for index, writer in enumerate(self._writers):
            for task, values in scalars(history, None if self._alone else index, first, done):
                for name, value in values.items():
                    writer.add_scalar(name.replace(".", "/"), value, task)
            writer.flush()
            if done == total:
                writer.close()
        self._done = done
