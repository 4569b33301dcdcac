"""Who watches a run and who keeps it: what `train_continual` asks of them.

Both change while a run lasts, so they are plain classes and no part of a compiled program.
"""

import abc

from jaxtyping import PyTree

from ._core import Run
from ._ensemble import Ensemble
from ._history import History


class AbstractMeter(abc.ABC):
    """Shows how far a run is."""

    @abc.abstractmethod
    def update(self, done: int, total: int, history: History) -> None:
        """Called after every segment, and once at the start, with the number of tasks done."""


class AbstractCheckpointer(abc.ABC):
    """Keeps a run on disk, so that it can be resumed."""

    @abc.abstractmethod
    def restore(
        self, config: PyTree, run: Run | Ensemble
    ) -> tuple[int, Run | Ensemble, History] | None:
        """The last state saved under this configuration: tasks done, run and history; `None` if
        there is none. `run` shows the structure to be filled."""

    @abc.abstractmethod
    def save(self, config: PyTree, done: int, run: Run | Ensemble, history: History) -> None:
        """Keep the state after `done` tasks. All calls of one run get one object `config`."""
