"""Event files for TensorBoard."""

import os
import pathlib
import socket
import struct
import time
from collections.abc import Sequence

from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from .._base._paths import expanded
from .._history import History
from .._recorders import AbstractMeter
from ._scalars import NewScalars


class TensorBoard(AbstractMeter):
    """Writes the scalars of every task to TensorBoard event files in `folder/events`.

    Values per chunk are averaged over the task. Columns with further axes, such as spectra, are
    left out. The step of an event is the index of the task. View the files with
    `tensorboard --logdir FOLDER/events`.

    All steps are in the file when `update` returns. A resumed run writes them all again, from the
    history that was restored: earlier event files in the folder are deleted, because those of a
    process that was killed may have gaps, or steps after its last checkpoint.

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
        events = expanded("folder", folder) / "events"
        self._paths = [events] if names is None else [events / n / f"seed_{s}" for n, s in names]
        self._files: list[pathlib.Path] = []
        self._new_scalars = NewScalars(None if names is None else len(names))

    def update(self, done: int, total: int, history: History) -> None:
        self._files = self._files or [_new_file(path) for path in self._paths]
        for file, tasks in zip(self._files, self._new_scalars(done, history), strict=True):
            _append(
                file,
                [
                    Event(step=task, summary=scalar(name.replace(".", "/"), value))
                    for task, scalars in tasks
                    for name, value in scalars.items()
                ],
            )


def _new_file(folder: pathlib.Path) -> pathlib.Path:
    """Begin the only event file of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    file = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
    _append(file, [Event(file_version="brain.Event:2")])
    return file


def _append(file: pathlib.Path, events: Sequence[Event]) -> None:
    """Append events as records of TensorFlow: length and data, each with a checksum.

    The `SummaryWriter` of tensorboardX writes in a thread, and its `flush` does not wait for it.
    """
    with open(file, "ab") as records:
        for event in events:
            event.wall_time = time.time()
            data = event.SerializeToString()
            for part in (struct.pack("<Q", len(data)), data):
                records.write(part + struct.pack("<I", masked_crc32c(part)))
