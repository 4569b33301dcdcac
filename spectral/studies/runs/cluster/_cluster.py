"""What trains the groups of a run, and what it is given."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import equinox as eqx

from ...._recorders import AbstractMeter
from ...experiment._experiment import Experiment
from ...experiment._groups import Group, Names
from ..protection._stop import Stop


@runtime_checkable
class Logger(Protocol):
    """Makes a meter from the run folder and the names (algorithm and seed) of the members that are
    trained together."""

    def __call__(self, folder: pathlib.Path, *, names: Names) -> AbstractMeter: ...


@dataclasses.dataclass(frozen=True)
class Work:
    """What all groups of a run have in common."""

    experiment: Experiment
    folder: pathlib.Path
    loggers: Sequence[Logger]
    keep_every: int | None
    stop: Stop


Train = Callable[[Work, Sequence[Group]], None]


class AbstractCluster(eqx.Module):
    """Where the groups of a run are trained.

    Members that one program can train are a group. Groups do not depend on each other, so they can
    be trained on several machines. Each group writes its own part of the run folder: the
    histories of its members, and its checkpoints. The process that runs the experiment writes the
    rest, and holds the lock of the folder.
    """

    @abc.abstractmethod
    def open(
        self, experiment: Experiment, loggers: Sequence[Logger]
    ) -> AbstractContextManager[Train]:
        """Check that the experiment can be trained here, and connect to the workers.

        This is called before anything is written. The block receives a function that trains
        groups. It returns when all of them have ended.

        **Raises:** `SettingsError` if the experiment cannot be trained here.
        """
