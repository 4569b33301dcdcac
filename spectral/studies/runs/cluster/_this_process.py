"""Training in the process that runs the experiment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...experiment._experiment import Experiment
from ...experiment._groups import Group
from ...experiment._settings import SettingsError
from ..protection._memory import check_memory, within_memory
from ._cluster import AbstractCluster, Logger, Train, Work
from ._group_lock import is_trained
from ._places import lock_of
from ._train_group import train_group


class ThisProcess(AbstractCluster):
    """Trains one group after the other in the process that runs the experiment.

    ```python
    studies.run_sweep(sweep, "runs/here", cluster=studies.ThisProcess())
    ```
    """

    @contextmanager
    def open(self, experiment: Experiment, loggers: Sequence[Logger]) -> Iterator[Train]:
        check_memory(experiment)
        yield _train


def _train(work: Work, groups: Sequence[Group]) -> None:
    with within_memory("The run"):
        for group in groups:
            if is_trained(lock_of(work.folder, group.index)):
                raise SettingsError(
                    f"{group.label} is still trained by a job of a cluster, which an earlier "
                    "process has started: wait until it has ended, or cancel it."
                )
            train_group(work, group)
            work.stop.check()
