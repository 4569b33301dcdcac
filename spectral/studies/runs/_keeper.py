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
from ..experiment._settings import SettingsError
from ._folder import load_member, MARKER, Member, save_member


# Of the time of a run, that its checkpoints and histories may take.
TIME_FRACTION = 0.04


class Keeper(AbstractCheckpointer):
    """Keeps an ensemble of runs, and the history of each member in a folder of its own.

    With a probe at every task the loop stops at every task, and keeping a run can take longer than
    a short task. So nothing is kept until the last time has cost no more than `TIME_FRACTION` of
    the time since then; and at the end.
    """

    folder: pathlib.Path
    names: tuple[tuple[str, int], ...]
    steps_per_task: int
    _inner: OrbaxCheckpointer

    def __init__(
        self,
        folder: pathlib.Path,
        index: int,
        names: tuple[tuple[str, int], ...],
        stream: AbstractTaskStream,
    ):
        self.folder = folder
        self.names = names
        self.steps_per_task = stream.chunks_per_task * stream.minibatches
        self._inner = OrbaxCheckpointer(folder / "checkpoints" / f"{index}")
        self._began = self._saved = time.monotonic()
        self._cost = 0.0  # seconds that the last save took
        self._before = 0.0  # seconds that the run took before it was resumed

    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        known = load_member(self.folder, *self.names[0])
        self._before = 0.0 if known is None else known.seconds
        try:
            return self._inner.restore(config, run)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        ended = done == config["stream"].num_tasks
        since = time.monotonic() - self._saved
        if not ended and self._cost > TIME_FRACTION * since:
            return
        if not (self.folder / MARKER).exists():
            raise SettingsError(
                f"{str(self.folder)!r} is gone: it was deleted or moved while the run went on, and "
                "what it held with it. Begin anew, or move it back and go on with --resume."
            )
        began = time.monotonic()
        try:
            self._inner.save(config, done, run, history)
        except (ValueError, RuntimeError) as error:  # which storage raises for a full disk
            raise OSError(f"a checkpoint could not be saved: {error}") from error
        for member in self.members(history, ended=False):
            save_member(self.folder, member)
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def members(self, history: History, *, ended: bool) -> list[Member]:
        """The members with their own columns, as they are at this moment."""
        seconds = self._before + time.monotonic() - self._began
        return [
            self._member(i, History({n: c[:, i] for n, c in history.items()}), seconds, ended)
            for i in range(len(self.names))
        ]

    def _member(self, index: int, history: History, seconds: float, ended: bool) -> Member:
        status, message = "finished" if ended else "unfinished", ""
        step = history["diverged_step"][-1]
        if np.isfinite(step):
            status = "diverged" if ended else status
            what = place(history["diverged_in_data"][-1], history["diverged_in_weights"][-1])
            message = f"the {what} in task {int(step) // self.steps_per_task}, step {int(step)}"
        return Member(
            *self.names[index],
            status,
            message,
            history,
            seconds=seconds,
            together=len(self.names),
        )
