"""Runs of Weights & Biases."""

import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from .._base._paths import expanded
from .._history import History
from .._recorders import AbstractMeter
from ._scalars import NewScalars


class WeightsAndBiases(AbstractMeter):
    """Logs the scalars of every task to Weights & Biases, as one run for each ensemble member.

    Needs the extra `wandb`. Files are written to `folder/events`. With `WANDB_MODE=offline` in the
    environment nothing leaves the machine, and `wandb sync` sends the files later. Values per chunk
    are averaged over the task. Columns with further axes, such as spectra, are left out.

    A run that continues from a checkpoint continues its run of Weights & Biases, whose id is in
    `folder/events`. Steps that it has taken cannot be rewritten, so those that the killed process
    logged after its last checkpoint stay, and only later ones are logged. Offline there is nothing
    to continue: all steps are logged again, under the same id.

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
        self._wandb = self.check_installed()
        self._folder = expanded("folder", folder)
        self._names = names
        self._runs: list[Any] = []
        self._new_scalars = NewScalars(None if names is None else len(names))

    def update(self, done: int, total: int, history: History) -> None:
        self._runs = self._runs or self._begin(resumed=done > 0)
        for run, tasks in zip(self._runs, self._new_scalars(done, history), strict=True):
            for task, scalars in tasks:
                if task >= run.starting_step:  # 0 for a new run
                    run.log(scalars, step=task)
            if done == total:
                run.finish()

    def _begin(self, *, resumed: bool) -> list[Any]:
        group, events = self._folder.name, self._folder / "events"
        if self._names is None:
            return [self._begin_one(events / "run.wandb-id", resumed, group, {})]
        return [
            self._begin_one(
                events / n / f"seed_{seed}.wandb-id",
                resumed,
                f"{n}-{seed}",
                {"algorithm": n, "seed": seed},
            )
            for n, seed in self._names
        ]

    def _begin_one(
        self, path: pathlib.Path, resumed: bool, name: str, config: dict[str, Any]
    ) -> Any:
        """Begin or resume a run whose id is in the file `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.read_text(encoding="utf-8").strip() if resumed and path.exists() else ""
        run = self._wandb.init(
            project="spectral",
            group=self._folder.name,
            name=name,
            config=config,
            dir=str(self._folder / "events"),
            reinit="create_new",
            **({"id": known, "resume": "allow"} if known else {}),
        )
        path.write_text(run.id, encoding="utf-8")
        return run

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
