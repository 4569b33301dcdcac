"""Carry out an experiment: every algorithm from every seed, into a run folder."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ..._loop import train_continual
from ..._recorders import AbstractMeter
from ...recording import Meters, ProgressBar, WeightsAndBiases
from ..experiment._experiment import Experiment
from ..experiment._groups import assemble, Group, groups, Names
from ..experiment._settings import read_settings, SettingsError
from ._folder import (
    check_folder,
    load_member,
    load_results,
    MARKER,
    Mode,
    open_folder,
    Results,
    save_member,
)
from ._keeper import Keeper
from ._lock import sole_writer
from ._record import circumstances


@runtime_checkable
class Logger(Protocol):
    """Makes a meter from the folder of a run, and from algorithm and seed of the members that are
    trained together."""

    def __call__(self, folder: pathlib.Path, *, names: Names) -> AbstractMeter: ...


def run_experiment(
    experiment: Experiment,
    folder: str | os.PathLike[str],
    *,
    mode: Mode = "new",
    loggers: Sequence[Logger] = (),
) -> Results:
    """Train every algorithm from every seed.

    All seeds of an algorithm are trained in one program, as an `Ensemble`, and so are algorithms
    that differ in nothing but their numbers, such as the cells of a sweep.

    ```python
    experiment = studies.load_experiment("examples/digits.yaml", ["stream.num_tasks=20"])
    results = studies.run_experiment(experiment, "runs/short")
    ```

    **Arguments:**

    - `folder`: where the configuration, histories and checkpoints are written. Histories can be
      read while the run goes on, by `load`.
    - `mode`: `"new"` wants a folder without a run, `"overwrite"` replaces a run, `"resume"` goes
      on with the unfinished parts of one, from their checkpoints.
    - `loggers`: each makes a meter that is called besides the progress bar, from the folder and
      the names of those that are trained together: `TensorBoard`.

    A run that diverges is noted as such, with what it recorded until then; the others go on.

    **Raises:** `SettingsError` if the folder must not be written to or the package of a logger is
    not installed, before anything is written; or if the folder can no longer be written to, when
    what was saved before is intact.
    """
    folder = pathlib.Path(folder)
    check_folder(folder, experiment.settings, mode)
    if WeightsAndBiases in loggers:
        try:
            WeightsAndBiases.check_installed()
        except ModuleNotFoundError as error:
            raise SettingsError(str(error)) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with sole_writer(folder / MARKER):
            open_folder(folder, experiment.settings, _recorded(experiment), mode)
            # The order in which a resumed run has numbered its checkpoints.
            order = read_settings(folder / "config.yaml")["algorithms"]
            algorithms = {name: experiment.algorithms[name] for name in order}
            experiment = dataclasses.replace(experiment, algorithms=algorithms)
            for group in groups(experiment):
                known = [load_member(folder, *name) for name in group.names]
                if any(member is None or member.status == "unfinished" for member in known):
                    _train(experiment, folder, group, loggers)
    except OSError as error:
        raise SettingsError(
            f"{str(folder)!r} cannot be written to: {error}. What was saved before is intact: make "
            "room, go on with --resume, or name another folder with --out."
        ) from error
    return load_results(folder)


def _train(
    experiment: Experiment, folder: pathlib.Path, group: Group, loggers: Sequence[Logger]
) -> None:
    keeper = Keeper(folder, group.index, group.names, experiment.stream)
    bar = ProgressBar(label=group.label)
    try:
        meter = Meters((bar, *(logger(folder, names=group.names) for logger in loggers)))
        _, history = train_continual(
            **assemble(experiment, group.names), meter=meter, checkpointer=keeper
        )
    finally:
        bar.close()
    for member in keeper.members(history, ended=True):
        save_member(folder, member)


def _recorded(experiment: Experiment) -> dict[str, Any]:
    facts = circumstances()
    if (chance := getattr(experiment.stream, "chance_accuracy", None)) is not None:
        facts["chance_accuracy"] = chance
    if experiment.benchmark is not None:
        facts["benchmark"] = experiment.benchmark.facts
    return facts
