"""Training on a Slurm cluster. The only file that imports submitit."""

import importlib
import pathlib
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import equinox as eqx

from ...._arguments import check_count, unknown_name
from ...experiment._experiment import Experiment
from ...experiment._groups import Group
from ...experiment._settings import SettingsError
from ._cluster import AbstractCluster, Logger, Train, Work
from ._entry import entry
from ._places import cluster_folder
from ._pool import AbstractPool, LostWorkerError
from ._supervise import check_settings, supervise


class SlurmCluster(AbstractCluster):
    """Trains each group as a job of Slurm, through submitit.

    Needs the extra `cluster`, and a run folder and an environment that the machine of this call
    and those of the jobs have under one path. All groups are one array of jobs. A job that reaches
    its time limit or is preempted saves its state when its present tasks end, and another one
    continues its group. Their logs are in `FOLDER/cluster/jobs`. If the process that runs the
    experiment is killed, its jobs continue; the same call with the mode `"resume"` waits for them.

    ```
    options = {"partition": "gpu", "account": "plasticity"}
    cluster = studies.SlurmCluster(gpus=1, minutes=240, options=options)
    studies.run_sweep(sweep, "/shared/runs/sweep", cluster=cluster)
    ```

    **Arguments:**

    - `cpus`, `gpus`: of a job. JAX itself does not limit its threads by them.
    - `minutes`: the time limit of a job. It may be shorter than the training of a group. Slurm
      warns a job 90 s before, or `signal_delay_s` among the `options`; tasks that take longer
      than this are trained again.
    - `retries`: how often in a row a group may lose its job without a further saved task.
    - `options`: further options of `sbatch` by their names in submitit, such as `partition`,
      `account`, `qos`, `constraint`, `mem`, or `array_parallelism`, the number of jobs at once.
    - `local`: run the jobs as processes of this machine, all at once, to try a run without Slurm.
      `options` are then not used.

    **Raises:** `SettingsError`, from `open`, if submitit or Slurm is not installed, if submitit
    does not know an option, or if the experiment was made in Python.
    """

    cpus: int = eqx.field(static=True)
    gpus: int = eqx.field(static=True)
    minutes: int = eqx.field(static=True)
    retries: int = eqx.field(static=True)
    options: tuple[tuple[str, str | int], ...] = eqx.field(static=True)
    local: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        cpus: int = 1,
        gpus: int = 0,
        minutes: int = 60,
        retries: int = 3,
        options: Mapping[str, str] | None = None,
        local: bool = False,
    ):
        check_count("cpus", cpus)
        check_count("gpus", gpus, minimum=0)
        check_count("minutes", minutes)
        check_count("retries", retries, minimum=0)
        self.cpus, self.gpus, self.minutes, self.retries = cpus, gpus, minutes, retries
        self.options = tuple(sorted((n, _read(n, v)) for n, v in (options or {}).items()))
        self.local = local

    @contextmanager
    def open(self, experiment: Experiment, loggers: Sequence[Logger]) -> Iterator[Train]:
        check_settings(experiment, loggers)
        submitit = _submitit()
        if not self.local and shutil.which("sbatch") is None:
            raise SettingsError(
                "`cluster` is a `SlurmCluster`, but this machine has no command sbatch: run this "
                "on a machine from which jobs of Slurm can be submitted."
            )
        self._check_options(submitit)

        def train(work: Work, groups: Sequence[Group]) -> None:
            pool = _SlurmPool(submitit, self._executor(submitit, work.folder), self.gpus)
            supervise(pool, work, groups, retries=self.retries)

        yield train

    def _executor(self, submitit: Any, folder: pathlib.Path) -> Any:
        executor = submitit.AutoExecutor(
            folder=cluster_folder(folder) / "jobs", cluster="local" if self.local else "slurm"
        )
        needs = {"gpus_per_node": self.gpus} if self.gpus else {}
        own = {f"slurm_{name}": value for name, value in self.options}
        executor.update_parameters(
            name="spectral", timeout_min=self.minutes, cpus_per_task=self.cpus, **needs, **own
        )
        return executor

    def _check_options(self, submitit: Any) -> None:
        """**Raises:** `SettingsError` for an unknown option, before a folder is written."""
        known = sorted(submitit.SlurmExecutor._valid_parameters() - _NOT_TEXT)
        for name, _ in self.options:
            if name not in known:
                raise SettingsError(unknown_name("`options`: Option", name, known))


class _SlurmPool(AbstractPool):
    def __init__(self, submitit: Any, executor: Any, gpus: int):
        self._submitit, self._executor, self._gpus = submitit, executor, gpus

    @property
    def gpus(self) -> int:
        return self._gpus

    @property
    def has_processes(self) -> bool:
        return True

    def submit(self, wanted: Mapping[str, str], payloads: Sequence[bytes]) -> list[Any]:
        if not payloads:
            return []
        with self._executor.batch():  # one array
            return [self._executor.submit(entry(), dict(wanted), payload) for payload in payloads]

    def wait(self, handles: Collection[Any], *, seconds: float) -> list[Any]:
        deadline = time.monotonic() + seconds
        while not (done := [job for job in handles if job.done()]) and time.monotonic() < deadline:
            time.sleep(min(_BETWEEN_LOOKS, seconds))
        return done

    def outcome(self, handle: Any) -> dict[str, Any]:
        error = handle.exception()
        if error is None:
            return handle.result()
        if isinstance(error, self._submitit.core.utils.FailedJobError):
            return {"kind": "fault", "message": f"A job of Slurm raised an error:\n{error}"}
        raise LostWorkerError(str(error).splitlines()[0])

    def cancel(self, handles: Collection[Any]) -> None:
        for handle in handles:
            handle.cancel(check=False)


_BETWEEN_LOOKS = 0.2  # seconds
# Options of submitit that are numbers, and those that are neither numbers nor text.
_NUMBERS = ("array_parallelism", "signal_delay_s")
_NOT_TEXT = {
    "additional_parameters",
    "setup",
    "srun_args",
    "stderr_to_stdout",
    "teardown",
    "use_srun",
}


def _read(name: str, value: str) -> str | int:
    """**Raises:** `ValueError` if an option that is a number is given as something else."""
    if name not in _NUMBERS:
        return value
    try:
        return int(value)
    except ValueError as error:
        raise ValueError(
            f"`options` has {name!r} as {value!r}, but it must be a whole number."
        ) from error


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "`cluster` is a `SlurmCluster`, but the package submitit is not installed: run pip "
            "install 'spectral-plasticity[cluster]' on all machines."
        ) from error
