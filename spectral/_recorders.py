"""What `train_continual` asks of a meter and of a checkpointer.

Their state changes during a run, so they are plain classes, outside all compiled programs.
"""

import abc

from jaxtyping import PyTree

from ._core import Run
from ._ensemble import Ensemble
from ._history import History


class AbstractMeter(abc.ABC):
    """Shows the progress of a run."""

    @abc.abstractmethod
    def update(self, done: int, total: int, history: History) -> None:
        """Show that `done` of `total` tasks are trained.

        `train_continual` calls this once at the start and then after every segment.
        """


class AbstractCheckpointer(abc.ABC):
    """Saves the state of a run to disk, so that it can be resumed."""

    @property
    def every(self) -> int | None:
        """A segment ends after every so many tasks, so that their states can be saved. By default
        `None`: probes and the length of a segment decide."""
        return None

    @abc.abstractmethod
    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """The last state saved under this configuration: tasks done, run, and history.

        Returns `None` if nothing was saved. `run` gives the structure of the run to restore.
        """

    @abc.abstractmethod
    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        """Save the state after `done` tasks. All calls of a run pass the same object `config`."""
