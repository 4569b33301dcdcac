"""The training runs of a run folder: their histories, and how they ended."""

import dataclasses
import json
import math
import os
import pathlib
import time
import zipfile
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, Literal

import numpy as np
from beartype.door import is_bearable

from ..._base._quantity import Quantity
from ..._history import History
from ..experiment._experiment import RECORDED
from ..experiment._settings import given_path, SettingsError
from ._atomic_write import write_atomically, write_text
from ._folder import CONFIG, MARKER, QUANTITIES, read_config, was_written_by_a_run
from ._quantities import load_quantities
from .protection._damage import DamagedError


HISTORY = "history.npz"
STATUS = "status.json"

Status = Literal["finished", "diverged", "unfinished"]


@dataclasses.dataclass(frozen=True)
class Member:
    """One training run: one algorithm from one seed."""

    algorithm: str
    seed: int
    status: Status
    message: str  # what diverged; empty otherwise
    history: History
    _: KW_ONLY
    seconds: float = math.nan  # how long it was trained, in a program of `together` members
    together: int = 0
    processor: str = ""  # of the machine that trained it; empty if that was not recorded


@dataclasses.dataclass(frozen=True)
class Results:
    """The contents of a run folder."""

    folder: pathlib.Path
    settings: dict[str, Any]
    members: tuple[Member, ...]  # those with a history

    def of(self, algorithm: str, *, status: Status | None = None) -> tuple[Member, ...]:
        """The members of one algorithm in the order of their seeds, of one status if given."""
        own = (m for m in self.members if m.algorithm == algorithm)
        return tuple(m for m in own if status in (None, m.status))

    @property
    def finished(self) -> dict[str, tuple[Member, ...]]:
        """The members that finished, by algorithm. Algorithms without any are left out."""
        done = {a: self.of(a, status="finished") for a in self.settings["algorithms"]}
        return {algorithm: members for algorithm, members in done.items() if members}

    @property
    def recorded(self) -> dict[str, Any]:
        """The record of the run: its versions, devices, commit and command."""
        return self.settings.get(RECORDED) or {}


def member_folder(folder: pathlib.Path, algorithm: str, seed: int) -> pathlib.Path:
    """The folder of one training run, inside the run folder."""
    return folder / algorithm / f"seed_{seed}"


def save_member(folder: pathlib.Path, member: Member) -> None:
    """Write the history and the status of one training run."""
    own = member_folder(folder, member.algorithm, member.seed)
    save = lambda file: np.savez_compressed(file, allow_pickle=False, **member.history)
    write_atomically(own / HISTORY, save)
    about = {
        "status": member.status,
        "message": member.message,
        "seed": member.seed,
        "tasks": member.history.num_tasks,
        "columns": _layout(member.history),
        "seconds": member.seconds,
        "together": member.together,
        "processor": member.processor,
    }
    write_text(own / STATUS, json.dumps(about))


def load_member(
    folder: pathlib.Path,
    algorithm: str,
    seed: int,
    *,
    quantities: Mapping[str, Quantity] | None = None,
) -> Member | None:
    """Read one training run; `None` if it has recorded nothing yet.

    `quantities` are those of the run, for the history.

    **Raises:** `DamagedError` if a file is damaged.
    """
    own = member_folder(folder, algorithm, seed)
    if not (own / STATUS).exists():
        return None
    try:
        return _read_member(own, algorithm, seed, quantities)
    except DamagedError:
        # A run that is being trained writes one file after the other.
        time.sleep(_BETWEEN_FILES)
        return _read_member(own, algorithm, seed, quantities)


_BETWEEN_FILES = 0.1  # seconds


def _read_member(
    own: pathlib.Path, algorithm: str, seed: int, quantities: Mapping[str, Quantity] | None
) -> Member:
    path = own / STATUS
    try:
        about = {"columns": None, "processor": ""} | json.loads(path.read_text(encoding="utf-8"))
        for name, kind in (_FACTS | _ABOUT_HISTORY).items():
            if not is_bearable(about[name], kind):
                raise TypeError(f"`{name}` is {about[name]!r}")
        path = own / HISTORY
        history = History(_read_columns(path), quantities=quantities)
        _check_history(history, about["tasks"], about["columns"])
        path = own.parents[1] / QUANTITIES
        for name, quantity in (quantities or {}).items():
            if name in history:
                quantity.series(history[name][:1])
        return Member(algorithm, seed, history=history, **{name: about[name] for name in _FACTS})
    except Exception as error:  # a file that is cut off or was changed may raise anything
        raise DamagedError(path, error) from error


# What is read from `status.json`. Earlier versions wrote neither the columns nor the processor.
_FACTS: dict[str, Any] = {
    "status": Status,
    "message": str,
    "seconds": float | int,
    "together": int,
    "processor": str,
}
_ABOUT_HISTORY: dict[str, Any] = {"tasks": int, "columns": dict[str, str] | None}


def _layout(history: History) -> dict[str, str]:
    """The type and the shape of every column."""
    return {name: f"{column.dtype}{list(column.shape)}" for name, column in history.items()}


def _check_history(history: History, num_tasks: int, columns: Mapping[str, str] | None) -> None:
    """**Raises:** `ValueError` if the history is not the one that was written with the status."""
    for name, column in history.items():
        if len(column) != num_tasks:
            raise ValueError(f"{name!r} has {len(column)} tasks, but status.json says {num_tasks}")
    found = _layout(history)
    columns = found if columns is None else columns
    for name in (*columns, *found):
        if found.get(name) != columns.get(name):
            told = (found.get(name, "missing"), columns.get(name, "that it does not exist"))
            raise ValueError("{!r} is {}, but status.json says {}".format(name, *told))


def _read_columns(path: pathlib.Path) -> dict[str, np.ndarray]:
    # NumPy alone misses some errors: it stops reading where the header of an array says.
    with zipfile.ZipFile(path) as archive:
        if (wrong := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {wrong!r} is wrong")
    with np.load(path, allow_pickle=False) as arrays:
        columns = dict(arrays)
    for name, column in columns.items():
        if column.ndim < 1 or column.dtype.kind not in "biuf":
            raise ValueError(f"{name!r} is not a column of numbers")
    return columns


def known_member(folder: pathlib.Path, algorithm: str, seed: int) -> Member | None:
    """As `load_member`, but a training run whose files are damaged counts as one that has recorded
    nothing: its checkpoint has the history."""
    try:
        return load_member(folder, algorithm, seed)
    except DamagedError:
        return None


def load_results(folder: str | os.PathLike[str]) -> Results:
    """Read the folder of a run.

    ```python
    results = studies.load_results("runs/digits")
    results.of("bp")[0].history["test_accuracy"]
    ```

    **Raises:** `SettingsError` if the folder does not hold a run, or if a file of it is damaged.
    """
    folder = given_path("folder", folder)
    # A copy without hidden files can be read.
    marked = (folder / MARKER).exists() or was_written_by_a_run(folder)
    if not marked or not (folder / CONFIG).exists():
        raise SettingsError(
            f"{str(folder)!r} does not hold a run: pass a folder that `spectral run` has written."
        )
    settings = read_config(folder)
    quantities = load_quantities(folder)
    members = (
        load_member(folder, algorithm, seed, quantities=quantities)
        for algorithm in settings["algorithms"]
        for seed in range(settings["seeds"])
    )
    return Results(folder, settings, tuple(m for m in members if m is not None))


def save_summary(folder: pathlib.Path, summary: Mapping[str, Any]) -> None:
    """Write what `summarise` returned to the folder of the run."""
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
