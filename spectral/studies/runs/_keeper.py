"""Checkpoints and histories of the members of a run folder that are trained together."""

import pathlib
import time

import numpy as np
from jaxtyping import PyTree

from ..._core import Run
from ..._divergence import place
from ..._ensemble import Ensemble
from ..._history import History
from ..._recorders import AbstractCheckpointer
from ...recording import OrbaxCheckpointer
from ...tasks import AbstractTaskStream
from ..experiment._groups import Group
from ..experiment._settings import SettingsError
from ._folder import MARKER
from ._processor import processor
from ._results import known_member, Member, save_member
from .protection._stop import Stop


# The fraction of the time of a run that saving may take.
TIME_FRACTION = 0.04


class Keeper(AbstractCheckpointer):
    """Saves the checkpoints of a group of members, and the history of each in its own folder.

    With a probe at every task the loop stops after every task, and saving can take longer than a
    short task. `save` therefore does nothing until the last save has taken at most `TIME_FRACTION`
    of the time since then. The final state is always saved. The states after every `keep_every`
    tasks are saved too, and never deleted. If a signal to `stop` has arrived, the state is saved
    and the run ends.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        group: Group,
        stream: AbstractTaskStream,
        *,
        stop: Stop,
        keep_every: int | None = None,
    ):
        self._folder = folder
        self._names = group.names
        self._steps_per_task = stream.chunks_per_task * stream.minibatches
        self._checkpoints = checkpoints(folder, group)
        self._kept = kept_checkpoints(folder, group)
        self._keep_every = keep_every
        self._stop = stop
        self._began = self._saved = time.monotonic()
        self._save_seconds = 0.0  # of the last save
        self._earlier_seconds = 0.0  # of the run before it was resumed

    @property
    def every(self) -> int | None:
        return self._keep_every

    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        known = [known_member(self._folder, *name) for name in self._names]
        self._earlier_seconds = next((m.seconds for m in known if m is not None), 0.0)
        try:
            return self._checkpoints.restore(config, run)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        began = time.monotonic()
        ended = done == config["stream"].num_tasks
        kept = self._keep_every is not None and done % self._keep_every == 0
        soon = self._save_seconds > TIME_FRACTION * (began - self._saved)
        if soon and not ended and not kept and self._stop.signal is None:
            return
        if not (self._folder / MARKER).exists():
            raise SettingsError(
                f"{str(self._folder)!r} is gone: it was deleted or moved while the run was being "
                "trained. Start again, or move it back and continue with --resume."
            )
        try:
            if kept and done not in self._kept.saved:
                self._kept.save(config, done, run, history)
            self._checkpoints.save(config, done, run, history)
        except (ValueError, RuntimeError) as error:  # the storage raises these for a full disk
            raise OSError(f"a checkpoint could not be saved: {error}") from error
        for member in self.members(history, ended=False):
            save_member(self._folder, member)
        self._saved = time.monotonic()
        self._save_seconds = self._saved - began
        self._stop.check()

    def members(self, history: History, *, ended: bool) -> list[Member]:
        """The members with their own columns, and their status now."""
        seconds = self._earlier_seconds + time.monotonic() - self._began
        return [
            self._member(i, own, seconds, ended)
            for i in range(len(self._names))
            for own in [History({n: c[:, i] for n, c in history.items()})]
        ]

    def _member(self, index: int, history: History, seconds: float, ended: bool) -> Member:
        status, message = "finished" if ended else "unfinished", ""
        step = history["diverged_step"][-1]
        if np.isfinite(step):
            status = "diverged" if ended else status
            what = place(history["diverged_in_data"][-1], history["diverged_in_weights"][-1])
            message = f"the {what} in task {int(step) // self._steps_per_task}, step {int(step)}"
        return Member(
            *self._names[index],
            status,
            message,
            history,
            seconds=seconds,
            together=len(self._names),
            processor=processor(),
        )


def checkpoints(folder: pathlib.Path, group: Group) -> OrbaxCheckpointer:
    """The latest checkpoints of a group of members in a run folder."""
    # The settings in the folder say which configurations fit, also after it was extended.
    return OrbaxCheckpointer(checkpoint_folder(folder, group), extend=True)


def checkpoint_folder(folder: pathlib.Path, group: Group) -> pathlib.Path:
    """The folder of the latest checkpoints of a group."""
    return folder / "checkpoints" / f"{group.index}"


def kept_checkpoints(folder: pathlib.Path, group: Group) -> OrbaxCheckpointer:
    """The checkpoints of a group that are never deleted."""
    path = folder / "checkpoints" / "kept" / f"{group.index}"
    return OrbaxCheckpointer(path, keep=None, extend=True)
