"""The trained networks in a run folder."""

import os
import pathlib
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from ..._arguments import unknown_name
from ..._blas import single_threaded_blas
from ..._ensemble import Ensemble
from ..._loop import configuration
from ..._programs import start
from ..._types import Learner
from ..experiment._experiment import Experiment
from ..experiment._groups import assemble, Group, groups
from ..experiment._settings import SettingsError
from ._keeper import checkpoints, kept_checkpoints
from ._remade import remade
from ._results import load_results, Results


def load_learner(
    folder: str | os.PathLike[str],
    *,
    algorithm: str,
    seed: int = 0,
    task: int | None = None,
    experiment: Experiment | None = None,
    data_dir: str | None = None,
) -> Learner:
    """Load a trained network of a run, with its state and its optimiser.

    ```python
    learner = studies.load_learner("runs/digits", algorithm="l2_er", seed=1)
    learner.model
    ```

    The run is only read, so this also works while it is training. The network of a run that
    diverged is as it was when it stopped.

    **Code of others.** The parts of the run are made again from its `config.yaml`. If it names
    modules of one's own (`package.module:Name`), they are imported and run, also from the folders
    that the file names, like a script: load only runs that you trust. With `experiment`, nothing
    that the folder names is imported.

    **Arguments:**

    - `algorithm`, `seed`: which network of the run.
    - `task`: after how many tasks. By default the latest checkpoint. Others are kept by
      `spectral run --keep-every N`.
    - `experiment`: the experiment of the run, if it was made in Python by `experiment_of`.
    - `data_dir`: as for `load_experiment`.

    **Raises:** `SettingsError` with those that exist, if the folder does not hold a run, or the run
    no such algorithm, seed or checkpoint.
    """
    results = load_results(folder)
    check_member(results, algorithm, seed)
    experiment = remade(results, experiment, data_dir=data_dir)
    name = (algorithm, seed)
    (group,) = (group for group in groups(experiment) if name in group.names)
    _, run = read_run(results.folder, group, assemble(experiment, group.names), task=task)
    return run[group.names.index(name)].learner


def check_member(results: Results, algorithm: str, seed: int, *, option: str = "") -> None:
    """**Raises:** `SettingsError` for an unknown algorithm or seed. `option` precedes the names of
    the arguments."""
    known, seeds = results.settings["algorithms"], results.settings["seeds"]
    if algorithm not in known:
        raise SettingsError(unknown_name(f"`{option}algorithm`: Algorithm", algorithm, known))
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < seeds:
        raise SettingsError(
            f"`{option}seed` is {seed!r}, but the run has the seeds 0 to {seeds - 1}."
        )


def read_run(
    folder: pathlib.Path, group: Group, given: Mapping[str, Any], *, task: int | None = None
) -> tuple[int, Ensemble]:
    """How many tasks a checkpoint of a group has trained, and its run.

    **Arguments:**

    - `given`: what `assemble` returned for the group.
    - `task`: after how many tasks; by default the latest.

    **Raises:** `SettingsError` if there is no such checkpoint, or if it cannot be used.
    """
    names = ("model", "model_state", "stream", "algo", "key")
    latest, kept = checkpoints(folder, group), kept_checkpoints(folder, group)
    known = sorted({*latest.saved, *kept.saved})
    if not known:
        raise SettingsError(
            f"{str(folder)!r} holds no checkpoint of {group.names[0][0]!r}: wait until the run has "
            "trained its first tasks."
        )
    if task is not None and task not in known:
        raise SettingsError(
            f"`task` is {task}, but the run has checkpoints of {group.names[0][0]!r} after "
            f"{', '.join(map(str, known))} tasks: choose one of these, or train again with "
            "`spectral run --keep-every N`."
        )
    config = configuration(**given)
    with single_threaded_blas():
        like = start(*(given[name] for name in names))
    try:
        if task is None:
            saved = latest.read(config, like)
        else:
            saved = (latest if task in latest.saved else kept).read_after(task, config, like)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    assert saved is not None
    done, run, _ = saved
    assert isinstance(run, Ensemble)
    return done, run
