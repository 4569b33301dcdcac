"""Carry out an experiment: every algorithm from every seed, into a run folder."""

import os
import pathlib
import platform
import time
from importlib import metadata
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from .._core import Run
from .._history import History
from .._loop import AbstractCheckpointer, Diverged, train_continual
from ._checkpoint import OrbaxCheckpointer
from ._experiment import Experiment
from ._folder import (
    check_folder,
    load_member,
    load_results,
    member_folder,
    Mode,
    open_folder,
    Results,
    save_history,
    save_status,
)
from ._progress import ProgressBar
from ._settings import SettingsError


def run_experiment(
    experiment: Experiment, folder: str | os.PathLike[str], *, mode: Mode = "new"
) -> Results:
    """Train every algorithm from every seed, one after another.

    ```python
    experiment = studies.load_experiment("examples/digits.yaml", ["stream.num_tasks=20"])
    results = studies.run_experiment(experiment, "runs/short")
    ```

    **Arguments:**

    - `folder`: where the configuration, histories and checkpoints are written.
    - `mode`: `"new"` wants a folder without a run, `"overwrite"` replaces a run, `"resume"` goes
      on with the unfinished parts of one, from their checkpoints.

    A run that diverges is noted as such, with what it recorded until then; the others go on.

    **Raises:** `SettingsError` if the folder must not be written to, before anything is.
    """
    folder = pathlib.Path(folder)
    check_folder(folder, experiment.settings, mode)
    try:
        open_folder(folder, experiment.settings, _recorded(experiment), mode)
    except OSError as error:
        raise SettingsError(f"`--out` cannot be written to: {error}.") from error
    for name in experiment.algorithms:
        for seed in range(experiment.seeds):
            known = load_member(folder, name, seed)
            if known is None or known.status == "unfinished":
                _train(experiment, folder, name, seed)
    return load_results(folder)


def _train(experiment: Experiment, folder: pathlib.Path, name: str, seed: int) -> None:
    own = member_folder(folder, name, seed)
    model, model_state, key = experiment.member(seed)
    meter = ProgressBar(f"{name}, seed {seed}")
    try:
        _, history = train_continual(
            model,
            experiment.stream,
            experiment.algorithms[name],
            key=key,
            probes=experiment.probes,
            model_state=model_state,
            meter=meter,
            checkpointer=_Keeper(own),
        )
        save_history(own, history)
        save_status(own, "finished")
    except Diverged as error:
        save_history(own, error.history)
        save_status(own, "diverged", f"the {error.what} in task {error.task}, step {error.step}")
    finally:
        meter.close()


_SECONDS = 5.0


class _Keeper(AbstractCheckpointer):
    """Keeps the run and its history, not oftener than every `_SECONDS`, and at the end.

    With a probe at every task the loop stops at every task, and keeping a run, about 0.1 s, can
    take longer than a short task. So it takes about 2 % of the time at most, and an interruption
    costs seconds of work (or the tasks since the loop last stopped, if those took longer).
    """

    folder: pathlib.Path = eqx.field(static=True)
    _inner: OrbaxCheckpointer
    _last: list[float] = eqx.field(static=True)

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._inner = OrbaxCheckpointer(folder / "checkpoints", keep=1)
        self._last = [time.monotonic()]

    def restore(self, config: PyTree, run: Run) -> tuple[int, Run, History] | None:
        try:
            return self._inner.restore(config, run)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def save(self, config: PyTree, done: int, run: Run, history: History) -> None:
        ended = done == config["stream"].num_tasks
        if ended or time.monotonic() - self._last[0] >= _SECONDS:
            self._inner.save(config, done, run, history)
            save_history(self.folder, history)
            self._last[0] = time.monotonic()


def _recorded(experiment: Experiment) -> dict[str, Any]:
    device = jax.devices()[0]
    classes = getattr(experiment.stream, "num_classes", None)
    facts = {
        "spectral": metadata.version("spectral-plasticity"),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
    }
    return facts if classes is None else facts | {"chance_accuracy": 1 / classes}
