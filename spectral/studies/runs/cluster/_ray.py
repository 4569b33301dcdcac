"""Training on a Ray cluster. The only file that imports Ray."""

import importlib
import os
import re
import signal
import socket
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import equinox as eqx

from ...._arguments import check_count
from ...experiment._experiment import Experiment
from ...experiment._groups import Group
from ...experiment._settings import SettingsError
from ._cluster import AbstractCluster, Logger, Train, Work
from ._entry import entry
from ._pool import AbstractPool, LostWorkerError
from ._supervise import check_settings, supervise


_ANSWER_SECONDS = 10.0
# How HTTP/2 begins: a fixed text, then settings, of which these are none (RFC 9113, section 3.4).
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class RayCluster(AbstractCluster):
    """Trains each group as a task of Ray (Moritz et al., 2018), on any machine of a cluster.

    Needs the extra `cluster` on all machines, and a run folder that all of them see under one
    path. The numbers are those of `ThisProcess` on the machine of the worker. If a worker is lost,
    another one continues its group from the checkpoint. If the process that runs the experiment is
    killed, Ray ends its tasks; the same call with the mode `"resume"` continues.

    ```
    cluster = studies.RayCluster(address="10.0.0.1:6379", cpus=2)
    studies.run_sweep(sweep, "/shared/runs/sweep", cluster=cluster)
    ```

    **Arguments:**

    - `address`: host and port of the head of a cluster that this machine belongs to, or `"auto"`.
      By default the cluster that `RAY_ADDRESS` or this machine knows; if there is none, one is
      started on this machine alone, for the time of the run.
    - `cpus`, `gpus`: how many CPUs and GPUs of one machine Ray reserves for a group. JAX itself
      does not limit its threads by them. Without GPUs a group is trained on CPU.
    - `retries`: how often in a row a group may lose its worker without a further saved task.

    **Raises:** `SettingsError`, from `open`, if Ray is not installed, if no cluster answers at the
    address, or if the experiment was made in Python.
    """

    address: str | None = eqx.field(static=True)
    cpus: int = eqx.field(static=True)
    gpus: int = eqx.field(static=True)
    retries: int = eqx.field(static=True)

    def __init__(
        self, *, address: str | None = None, cpus: int = 1, gpus: int = 0, retries: int = 3
    ):
        check_count("cpus", cpus)
        check_count("gpus", gpus, minimum=0)
        check_count("retries", retries, minimum=0)
        self.address, self.cpus, self.gpus, self.retries = address, cpus, gpus, retries

    @contextmanager
    def open(self, experiment: Experiment, loggers: Sequence[Logger]) -> Iterator[Train]:
        check_settings(experiment, loggers)
        ray = _ray()
        with _connected(ray, self.address):
            _warn_if_too_large(ray, self.cpus, self.gpus)
            pool = _RayPool(ray, self.cpus, self.gpus)

            def train(work: Work, groups: Sequence[Group]) -> None:
                supervise(pool, work, groups, retries=self.retries)

            yield train


class _RayPool(AbstractPool):
    def __init__(self, ray: Any, cpus: int, gpus: int):
        self._ray, self._gpus = ray, gpus
        # A lost worker is reported, because only its group knows how far it has come.
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        self._task: Any = ray.remote(**options)(entry())

    @property
    def gpus(self) -> int:
        return self._gpus

    @property
    def has_processes(self) -> bool:
        return False  # a worker of Ray trains one group after the other

    def submit(self, wanted: Mapping[str, str], payloads: Sequence[bytes]) -> list[Any]:
        return [self._task.remote(dict(wanted), payload) for payload in payloads]

    def wait(self, handles: Collection[Any], *, seconds: float) -> list[Any]:
        return self._ray.wait(list(handles), num_returns=1, timeout=seconds)[0]

    def outcome(self, handle: Any) -> dict[str, Any]:
        errors = self._ray.exceptions
        try:
            return self._ray.get(handle)
        except errors.RayTaskError as error:
            last = str(error).strip().splitlines()[-1]
            return {"kind": "fault", "message": f"A worker of Ray raised {last}\n{error}"}
        except errors.RayError as error:
            raise LostWorkerError((str(error).splitlines() or [type(error).__name__])[0]) from error

    def cancel(self, handles: Collection[Any]) -> None:
        for handle in handles:
            self._ray.cancel(handle)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "`cluster` is a `RayCluster`, but the package ray is not installed: run pip install "
            "'spectral-plasticity[cluster]' on all machines."
        ) from error


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    if ray.is_initialized():  # by the program that calls this, which chose the cluster
        if address is not None:
            raise SettingsError(
                f"`address` is {address!r}, but this process is connected to a cluster already: "
                "leave it out, or call `ray.shutdown()` first."
            )
        yield
        return
    _check_answer(address)
    with _same_handler(signal.SIGTERM), warnings.catch_warnings():
        # The processes of a new cluster run another program right after the fork.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises many types
            raise _no_cluster(address, error) from error
    try:
        yield
    finally:
        with _same_handler(signal.SIGTERM):
            ray.shutdown()


def _check_answer(address: str | None) -> None:
    """Try the port first, because Ray tries for minutes and then may end the process.

    All servers of Ray speak gRPC, so they answer with the settings of HTTP/2.
    """
    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS") or address
    if address == "local":
        return
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address or "")
    if found is None:
        if address in (None, "auto"):
            return
        raise SettingsError(
            f"`address` is {address!r}, but must be the host and the port of a Ray cluster, such "
            "as '10.0.0.1:6379', or 'auto': `ray status` shows whether one is running."
        )
    try:
        where = (found[1], int(found[2]))
        with socket.create_connection(where, timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(_HTTP2)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error
    if answer[3:4] != bytes([4]):  # the type of a frame of settings
        raise _no_cluster(address, ConnectionError("what answers there is another program"))


def _no_cluster(address: str | None, error: Exception) -> SettingsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SettingsError(
        f"`address` is {address!r}, but no Ray cluster answers there ({reason}): start one with "
        "`ray start --head`, and run this on one of its machines."
    )


@contextmanager
def _same_handler(number: signal.Signals) -> Iterator[None]:
    """Restore the handler of a signal after the block. Ray replaces that of SIGTERM, and with it
    the status 143."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        try:
            signal.signal(number, before)
        except ValueError:  # not in the main thread, where Ray leaves it as well
            pass


def _warn_if_too_large(ray: Any, cpus: int, gpus: int) -> None:
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(r.get("CPU", 0) >= cpus and r.get("GPU", 0) >= gpus for r in resources):
        warnings.warn(
            f"A group needs {cpus} CPUs and {gpus} GPUs, but no machine of the cluster has so many "
            "now. The groups wait until one joins.",
            stacklevel=4,
        )
