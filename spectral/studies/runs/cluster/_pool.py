"""What a scheduler of jobs does for a run."""

import abc
from collections.abc import Collection, Mapping, Sequence
from typing import Any


class LostWorkerError(Exception):
    """A worker ended without an outcome. The message says how."""


class AbstractPool(abc.ABC):
    """Workers that train packed jobs. A handle stands for a job that was handed in, and
    can be a key of a dictionary."""

    @property
    @abc.abstractmethod
    def gpus(self) -> int:
        """The number of GPUs that a job has."""

    @property
    @abc.abstractmethod
    def has_processes(self) -> bool:
        """Whether each job has a process of its own, and may handle its signals."""

    @abc.abstractmethod
    def submit(self, wanted: Mapping[str, str], payloads: Sequence[bytes]) -> list[Any]:
        """Hand in jobs, and return the handle of each."""

    @abc.abstractmethod
    def wait(self, handles: Collection[Any], *, seconds: float) -> list[Any]:
        """The handles whose jobs are done. Waits for the first one for at most `seconds`."""

    @abc.abstractmethod
    def outcome(self, handle: Any) -> dict[str, Any]:
        """The facts of the outcome of a job that is done.

        **Raises:** `LostWorkerError` if it has none.
        """

    @abc.abstractmethod
    def cancel(self, handles: Collection[Any]) -> None:
        """End jobs that are not done."""
