"""Runs of Weights & Biases."""

import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from .._history import History
from .._recorders import AbstractMeter
from ._scalars import NewScalars


class WeightsAndBiases(AbstractMeter):
    """Logs the scalars of every task to Weights & Biases, as one run for each ensemble member.

    Needs the extra `wandb`. Files are written to `folder/events`. With `WANDB_MODE=offline` in the
    environment nothing leaves the machine, and `wandb sync` sends the files later. Values per chunk
    are averaged over the task. Columns with further axes, such as spectra, are left out.

    ```
    train_continual(model, stream, algo, meter=recording.WeightsAndBiases("runs/mine"))
    ```

    **Arguments:**

    - `names`: algorithm and seed of each member of an ensemble. `None` for a single run.

    **Raises:** `ModuleNotFoundError` if the package wandb is not installed.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, names: Sequence[tuple[str, int]] | None = None
    ):
        wandb = self.check_installed()
        group = pathlib.Path(folder).name
        events = pathlib.Path(folder) / "events"
        events.mkdir(parents=True, exist_ok=True)
        begin = lambda name, **config: wandb.init(
            project="spectral",
            group=group,
            name=name,
            config=config,
            dir=str(events),
            reinit="create_new",
        )
        if names is None:
            self._runs = [begin(group)]
        else:
            self._runs = [begin(f"{n}-{seed}", algorithm=n, seed=seed) for n, seed in names]
        self._new_scalars = NewScalars(None if names is None else len(names))

    def update(self, done: int, total: int, history: History) -> None:
        for run, tasks in zip(self._runs, self._new_scalars(done, history), strict=True):
            for task, scalars in tasks:
                run.log(scalars, step=task)
            if done == total:
                run.finish()

    @staticmethod
    def check_installed() -> Any:
        """Returns the package wandb.

        **Raises:** `ModuleNotFoundError` if it is not installed.
        """
        try:
            return importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "`WeightsAndBiases` needs the package wandb, which is not installed: run "
                "pip install 'spectral-plasticity[wandb]'."
            ) from error
