"""Run an experiment: train every algorithm from every seed, and write the results to a folder."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..._arguments import check_count
from ..._base._quantity import Quantity
from ...recording import WeightsAndBiases
from ..experiment._experiment import APART, Experiment, MADE_IN_PYTHON
from ..experiment._groups import Group, groups
from ..experiment._own_parts import OWN_PARTS, own_parts
from ..experiment._settings import given_path, SettingsError
from ._extend import check_extension
from ._folder import (
    began_apart,
    check_folder,
    CONFIG,
    MARKER,
    Mode,
    open_folder,
    QUANTITIES,
    read_config,
)
from ._keeper import checkpoint_folder
from ._quantities import load_quantities, save_quantities
from ._record import circumstances
from ._results import HISTORY, load_results, member_folder, Results, STATUS
from .cluster._cluster import AbstractCluster, Logger, Work
from .cluster._group_lock import check_no_trainer
from .cluster._has_ended import has_ended
from .cluster._this_process import ThisProcess
from .protection._damage import DamagedError
from .protection._lock import sole_writer
from .protection._obstacles import check_places, check_writable, told
from .protection._stop import watch_signals


_HERE = ThisProcess()


def run_experiment(
    experiment: Experiment,
    folder: str | os.PathLike[str],
    *,
    mode: Mode = "new",
    loggers: Sequence[Logger] = (),
    keep_every: int | None = None,
    apart: bool = False,
    at_most: int | None = None,
    cluster: AbstractCluster = _HERE,
) -> Results:
    """Train every algorithm from every seed.

    All seeds of an algorithm are trained in one program, as an `Ensemble`. So are algorithms that
    differ only in the values of numbers, such as the cells of a sweep. A member that diverges is
    marked, with what it recorded until then, and the others continue.

    A study that takes hours is trained `apart`: each algorithm from each seed on its own, all
    algorithms of a seed before the next seed. With `at_most` the function returns after so many of
    them, and the same call with the mode `"resume"` trains the next ones. The histories of those
    that have ended are all that it needs from the earlier calls.

    ```python
    experiment = studies.load_experiment("examples/digits.yaml")
    results = studies.run_experiment(experiment, "runs/digits")
    ```

    **Arguments:**

    - `folder`: where the configuration, histories and checkpoints are written. `load` can read the
      histories during the run.
    - `mode`: `"new"` needs a folder without a run, `"overwrite"` replaces the run in the folder,
      and `"resume"` continues its unfinished parts from their checkpoints, and writes damaged
      histories again from there. Files that no run has written stay. `"extend"` trains the
      further tasks of an experiment whose stream has more tasks than the run. The result is bit for
      bit as if all tasks had been trained at once.
    - `loggers`: such as `TensorBoard`. Each makes a meter, which is updated with the progress bar.
    - `apart`: train every algorithm from every seed on its own. A run that was begun so is also
      continued so. It can be resumed with more seeds.
    - `at_most`: how many groups (of those that train together) to train in this call; by default
      all that have not ended.
    - `cluster`: where the groups are trained: `ThisProcess()`, or the workers of a `RayCluster` or
      `SlurmCluster`.
    - `keep_every`: the checkpoints after every so many tasks are kept, for `load_learner`. By
      default only the latest are.

    **Raises:** `SettingsError`, before anything is written, if the folder must not be written to,
    if the package of a logger is not installed, or if the run cannot be extended; and later, if
    writing fails or the memory is full. What was saved before is then intact. `SystemExit` with the
    status 143 if the process gets SIGTERM: the state after the present tasks is saved first.
    """
    folder = given_path("folder", folder)
    counts = {"keep_every": keep_every, "at_most": at_most}
    experiment, recorded = check_run(experiment, folder, mode, loggers, apart=apart, counts=counts)
    with cluster.open(experiment, loggers) as train:
        try:
            # Before anything is changed, such as the settings of a run that is extended.
            check_writable(folder)
            with sole_writer(folder / MARKER):
                if mode == "overwrite":
                    check_no_trainer(folder)
                known = _known_quantities(folder)
                figures = {quantity.figure for quantity in known.values()}
                open_folder(folder, experiment.settings, recorded, mode, figures=figures)
                if not (folder / QUANTITIES).exists() or known != experiment.quantities:
                    save_quantities(folder, experiment.quantities)
                experiment = in_order(experiment, folder)
                with watch_signals() as stop:
                    work = Work(experiment, folder, loggers, keep_every, stop)
                    train(work, left(experiment, folder)[:at_most])
        except OSError as error:
            raise SettingsError(told(error, folder)) from error
    return load_results(folder)


def check_run(
    experiment: Experiment,
    folder: pathlib.Path,
    mode: Mode,
    loggers: Sequence[Logger],
    *,
    apart: bool,
    counts: Mapping[str, int | None],
) -> tuple[Experiment, dict[str, Any]]:
    """Check all that can be checked before anything is written. Nothing is written.

    **Returns:** the experiment as it will be trained, and what the run records about itself.

    **Raises:** `SettingsError` as `run_experiment`.
    """
    experiment = dataclasses.replace(experiment, apart=apart or began_apart(folder, mode))
    recorded = _recorded(experiment)
    for name, count in counts.items():
        _check_given_count(name, count)
    _check_loggers(loggers)
    check_folder(folder, experiment.settings, recorded, mode)
    if mode == "extend":
        recorded |= check_extension(experiment, folder)
    try:
        check_places(folder, *_places(experiment, folder))
    except OSError as error:
        raise SettingsError(told(error, folder)) from error
    return experiment, recorded


def _places(
    experiment: Experiment, folder: pathlib.Path
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The folders and the files that the run writes."""
    every = groups(experiment)
    members = [member_folder(folder, *name) for group in every for name in group.names]
    saved = [checkpoint_folder(folder, group) for group in every]
    files = [own / name for own in members for name in (HISTORY, STATUS)]
    return [*saved, *members], [folder / CONFIG, folder / QUANTITIES, *files]


def _known_quantities(folder: pathlib.Path) -> dict[str, Quantity]:
    try:
        return load_quantities(folder)
    except DamagedError:  # they are written again
        return {}


def _check_loggers(loggers: Sequence[Logger]) -> None:
    """**Raises:** `SettingsError` if the package of a logger is not installed."""
    if WeightsAndBiases in loggers:
        try:
            WeightsAndBiases.check_installed()
        except ModuleNotFoundError as error:
            raise SettingsError(f"`--log wandb`: {error}") from error


def _check_given_count(name: str, count: int | None) -> None:
    try:
        if count is not None:
            check_count(name, count)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def in_order(experiment: Experiment, folder: pathlib.Path) -> Experiment:
    """The experiment with its algorithms in the order of the run in the folder, by which its
    checkpoints are numbered."""
    algorithms = {name: experiment.algorithms[name] for name in read_config(folder)["algorithms"]}
    return dataclasses.replace(experiment, algorithms=algorithms)


def left(experiment: Experiment, folder: pathlib.Path) -> list[Group]:
    """The groups that have not ended."""
    num_tasks = experiment.stream.num_tasks
    return [group for group in groups(experiment) if not has_ended(folder, group, num_tasks)]


def _recorded(experiment: Experiment) -> dict[str, Any]:
    facts = circumstances()
    if experiment.benchmark is not None:
        facts["benchmark"] = experiment.benchmark.facts
    if experiment.made_in_python:
        facts[MADE_IN_PYTHON] = True
    if experiment.apart:
        facts[APART] = True
    if (own := own_parts(experiment.settings, experiment.folders)) is not None:
        facts[OWN_PARTS] = own
    return facts
