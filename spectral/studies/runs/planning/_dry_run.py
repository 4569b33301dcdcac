"""What a run will take, found without training it."""

import os
import pathlib
from collections.abc import Sequence

import jax

from ...._base._free_memory import free_bytes
from ...._blas import single_threaded_blas
from ...experiment._experiment import Experiment
from ...experiment._groups import Group, groups
from ...experiment._settings import given_path
from .._folder import CONFIG, MARKER, Mode
from .._results import known_member
from .._run import check_run, in_order, left
from .._score import check_recorded_score
from .._sweep import Sweep
from ..cluster._cluster import Logger
from ..cluster._group_lock import check_no_trainer
from ..protection._lock import check_no_writer
from ..protection._memory import check_memory, within_memory
from ._compiled import Programs
from ._group import array_bytes, Planned
from ._plan import Plan


def dry_run(
    experiment: Experiment | Sweep,
    folder: str | os.PathLike[str],
    *,
    mode: Mode = "new",
    loggers: Sequence[Logger] = (),
    keep_every: int | None = None,
    apart: bool = False,
    at_most: int | None = None,
) -> Plan:
    """Check everything that a run or a sweep checks, and predict what it will take.

    Every program of the run is compiled. A segment of the training of each program is timed for
    about a second, and an evaluation and each probe are timed once, on the first network of the
    run. Nothing is written. A probe that trains or that needs many products takes its time here
    too.

    The prediction takes the costs of the first task for those of all. It counts the steps of each
    task of a stream whose tasks grow. It leaves out saving, which takes at most 4 % of a run, and
    assumes that several host devices do not share cores.

    ```python
    experiment = studies.load_experiment("examples/digits.yaml")
    plan = studies.dry_run(experiment, "runs/digits")
    plan.steps, plan.programs, plan.seconds, plan.peak_bytes
    ```

    **Arguments:** as for `run_experiment`, or a sweep in place of the experiment. With the mode
    `"resume"` or `"extend"`, only what is left to train is counted.

    **Raises:** `SettingsError` as `run_experiment` and `run_sweep` do before anything is trained,
    and if the timed part needs more memory than there is.
    """
    folder = given_path("folder", folder)
    if isinstance(experiment, Sweep):
        check_recorded_score(experiment.score, experiment.experiment.quantities)
        experiment = experiment.experiment
    counts = {"keep_every": keep_every, "at_most": at_most}
    experiment, _ = check_run(experiment, folder, mode, loggers, apart=apart, counts=counts)
    check_memory(experiment)
    check_no_writer(folder / MARKER)
    if mode == "overwrite":
        check_no_trainer(folder)
    continues = mode in ("resume", "extend") and (folder / CONFIG).exists()
    if continues:
        experiment = in_order(experiment, folder)
    waiting = left(experiment, folder)[:at_most] if continues else groups(experiment)[:at_most]
    programs, plans = Programs(), []
    with single_threaded_blas(), within_memory("The dry run"):
        for group in waiting:
            done = _done(group, folder) if continues else 0
            plans.append(Planned(experiment, group, programs).plan(done=done))
    return Plan(
        tuple(plans),
        data_bytes=array_bytes(experiment.stream),
        process_bytes=_process_bytes(),
        free_bytes=free_bytes(),
    )


def _done(group: Group, folder: pathlib.Path) -> int:
    """The number of tasks that all members of a group have recorded."""
    known = [known_member(folder, *name) for name in group.names]
    return min(0 if member is None else member.history.num_tasks for member in known)


def _process_bytes() -> int:
    """The memory of this process without arrays; 0 if they are in the memory of another device."""
    if jax.devices()[0].platform != "cpu":
        return 0
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    arrays = sum(array.nbytes for array in jax.live_arrays())
    return max(0, pages * os.sysconf("SC_PAGE_SIZE") - arrays)
