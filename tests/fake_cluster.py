"""A cluster whose workers are calls in the process of the test."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx

from spectral.studies import AbstractCluster
from spectral.studies.runs.cluster._entry import entry
from spectral.studies.runs.cluster._pool import AbstractPool
from spectral.studies.runs.cluster._supervise import check_settings, supervise


class FakePool(AbstractPool):
    """Does one job when it is asked for the next one that is done. What happens to the jobs, one
    after the other, is in `fates`: a function of the software and the payload in place of the
    worker. After these, workers do their work."""

    def __init__(self, *fates: Callable[[Any, bytes], dict[str, Any]], gpus: int = 0):
        self.fates = list(fates)
        self.jobs: list[tuple[Any, bytes]] = []
        self.cancelled: list[Any] = []
        self._gpus = gpus

    @property
    def gpus(self):
        return self._gpus

    @property
    def has_processes(self):
        return False

    def submit(self, wanted, payloads):
        first = len(self.jobs)
        self.jobs += [(wanted, payload) for payload in payloads]
        return list(range(first, len(self.jobs)))

    def wait(self, handles, *, seconds):
        return [min(handles)]

    def outcome(self, handle):
        work = self.fates.pop(0) if self.fates else entry()
        return work(*self.jobs[handle])

    def cancel(self, handles):
        self.cancelled += list(handles)


class FakeCluster(AbstractCluster):
    """A cluster with a `FakePool`."""

    pool: FakePool = eqx.field(static=True)
    retries: int = eqx.field(static=True, default=1)

    @contextlib.contextmanager
    def open(self, experiment, loggers):
        check_settings(experiment, loggers)

        def train(work: Any, groups: Sequence[Any]) -> None:
            supervise(self.pool, work, groups, retries=self.retries)

        yield train
