"""Runs of Weights & Biases."""

import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from .._history import History
from .._recorders import AbstractMeter
from ._scalars import scalars


class WeightsAndBiases(AbstractMeter):
    """Logs the numbers of every task to Weights & Biases, a run for each member of an ensemble.

    Needs the extra `wandb`. Files are written to `folder/events`; with `WANDB_MODE=offline` in the
    environment nothing leaves the machine, and `wandb sync` sends them later. Numbers of a chunk
    are averaged over the task, and what is no single number for each task or chunk is left out.

    ```python
    train_continual(model, stream, algo, meter=recording.WeightsAndBiases("runs/mine"))
    ```

    **Arguments:**

    - `names`: algorithm and seed of each member of an ensemble; by default it is a run of its own.

    **Raises:** `ModuleNotFoundError` if the package is not installed.
    """

    _runs: list[Any]
    _alone: bool
    _done: int | None

    def __init__(
        self, folder: str | os.PathLike[str], *, names: Sequence[tuple[str, int]] | None = None
    ):
        wandb = self.check_installed()
        events = pathlib.Path(folder) / "events"
        events.mkdir(parents=True, exist_ok=True)
        group = pathlib.Path(folder).name
        own = [{"name": f"{n}-{s}", "config": {"algorithm": n, "seed": s}} for n, s in names or ()]
        begin = lambda about: wandb.init(
            project="spectral", group=group, dir=str(events), reinit="create_new", **about
        )
        self._runs = [begin(about) for about in own or [{"name": group}]]
        self._alone = names is None
        self._done = None

    def update(self, done: int, total: int, history: History) -> None:
        # What was recorded before a run was resumed has been logged then.
        first = done if self._done is None else self._done
        for index, run in enumerate(self._runs):
            for task, values in scalars(history, None if self._alone else index, first, done):
                run.log(values, step=task)
            if done == total:
                run.finish()
        self._done = done

    @staticmethod
    def check_installed() -> Any:
        """The package `wandb`.

        **Raises:** `ModuleNotFoundError` if it is not installed.
        """
        try:
            return importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "`--log wandb` needs the package wandb: pip install 'spectral-plasticity[wandb]'."
            ) from error
