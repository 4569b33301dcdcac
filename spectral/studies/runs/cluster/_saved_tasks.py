"""The progress of all groups of a run in one bar, from what they have saved."""

import json
import time
from collections.abc import Sequence
from types import TracebackType

from ...._history import History
from ....recording import ProgressBar
from ...experiment._groups import Group
from .._results import member_folder, STATUS
from ._cluster import Work


_BETWEEN_READINGS = 2.0  # seconds, because shared storage is slow


class SavedTasks:
    """The progress of groups that other processes train, in one bar while a block runs.

    It is read from the folder of the run, so all clusters have it, and it counts what survives
    the loss of a worker.
    """

    def __init__(self, work: Work, groups: Sequence[Group]):
        self.num_tasks: int = work.experiment.stream.num_tasks
        self._folder = work.folder
        self._groups = groups
        self._bar = ProgressBar(label=f"{len(groups)} groups")
        self._read = -_BETWEEN_READINGS

    def __enter__(self) -> "SavedTasks":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def of(self, group: Group) -> int:
        """The number of tasks after which a group was saved last."""
        try:
            path = member_folder(self._folder, *group.names[0]) / STATUS
            return int(json.loads(path.read_text(encoding="utf-8"))["tasks"])
        except (OSError, ValueError, KeyError, TypeError):  # nothing yet, or damaged
            return 0

    def show(self, ended: int) -> None:
        """Update the bar, if it has not been updated just now. `ended` groups have ended."""
        if ended < len(self._groups) and time.monotonic() - self._read < _BETWEEN_READINGS:
            return
        self._read = time.monotonic()
        self._bar.note(f"{ended} ended")
        total = len(self._groups) * self.num_tasks
        done = sum(map(self.of, self._groups))
        # The bar ends with the last task, and a group may still write after it.
        done = total if ended == len(self._groups) else min(done, total - 1)
        self._bar.update(done, total, History({}))
