"""The folder of a run: what lies where, and which folders may be written to."""

import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Any, BinaryIO, Literal

import numpy as np
import yaml

from ..._history import History
from ..experiment._experiment import RECORDED
from ..experiment._settings import differences, read_settings, SettingsError


Mode = Literal["new", "resume", "overwrite"]
Status = Literal["finished", "diverged", "unfinished"]

MARKER = ".spectral-run"
SWEEP_FILES = ("sweep.yaml", "sweep.csv", "selected.yaml")


@dataclasses.dataclass(frozen=True)
class Member:
    """One training run: one algorithm from one seed."""

    algorithm: str
    seed: int
    status: Status
    message: str  # what diverged; empty otherwise
    history: History
    _: KW_ONLY
    seconds: float = math.nan  # for which it was trained, together with `together` others
    together: int = 0


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run folder holds."""

    folder: pathlib.Path
    settings: dict[str, Any]
    members: tuple[Member, ...]  # those that have recorded something

    def of(self, algorithm: str) -> tuple[Member, ...]:
        """The members of one algorithm, by seed."""
        return tuple(m for m in self.members if m.algorithm == algorithm)


def check_folder(folder: pathlib.Path, settings: Mapping[str, Any], mode: Mode) -> None:
    """Refuse a folder that must not be written to.

    **Raises:** `SettingsError` for a file, a folder with other things in it, a run in a `"new"`
    folder, or a run of other settings that is to be resumed.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"`--out` is {str(folder)!r}, which is a file: name a folder.")
    if not (folder / MARKER).exists():
        if any(folder.iterdir()):
            raise SettingsError(
                f"`--out` is {str(folder)!r}, which holds files that no run has written: name an "
                "empty or a new folder."
            )
    elif mode == "new":
        raise SettingsError(
            f"`--out` is {str(folder)!r}, which holds a run already: pass --resume to go on with "
            "it, --overwrite to replace it, or name another folder."
        )
    elif mode == "resume" and (folder / "config.yaml").exists():
        old = read_settings(folder / "config.yaml")
        old.pop(RECORDED, None)
        if found := list(differences(old, settings)):
            raise SettingsError(
                f"{str(folder)!r} holds a run of other settings, which cannot be resumed: "
                f"{'; '.join(found)}. Restore the settings, or name another folder."
            )


def open_folder(
    folder: pathlib.Path, settings: Mapping[str, Any], recorded: Mapping[str, Any], mode: Mode
) -> None:
    """Make the folder, or empty it of the run it holds, and write its `config.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    if mode == "overwrite" and (folder / MARKER).exists():
        _clear(folder)
    if not (folder / MARKER).exists():
        (folder / MARKER).touch()
    if mode != "resume" or not (folder / "config.yaml").exists():
        text = yaml.safe_dump({**settings, RECORDED: dict(recorded)}, sort_keys=False)
        about = f"# Can be run again: what is under `{RECORDED}` is not read.\n"
        write_text(folder / "config.yaml", about + text)


def member_folder(folder: pathlib.Path, algorithm: str, seed: int) -> pathlib.Path:
    """Where one training run keeps its files."""
    return folder / algorithm / f"seed_{seed}"


def save_member(folder: pathlib.Path, member: Member) -> None:
    """Keep what is known of one training run in its folder."""
    own = member_folder(folder, member.algorithm, member.seed)
    save = lambda file: np.savez(file, allow_pickle=False, **member.history)
    _write(own / "history.npz", save)
    about = {
        "status": member.status,
        "message": member.message,
        "seed": member.seed,
        "tasks": member.history.num_tasks,
        "seconds": member.seconds,
        "together": member.together,
    }
    write_text(own / "status.json", json.dumps(about))


def load_member(folder: pathlib.Path, algorithm: str, seed: int) -> Member | None:
    """One training run; `None` if it has recorded nothing yet."""
    folder = member_folder(folder, algorithm, seed)
    if not (folder / "status.json").exists():
        return None
    with np.load(folder / "history.npz", allow_pickle=False) as columns:
        history = History(dict(columns))
    about = json.loads((folder / "status.json").read_text())
    return Member(
        algorithm,
        seed,
        about["status"],
        about["message"],
        history,
        seconds=about["seconds"],
        together=about["together"],
    )


def load_results(folder: str | os.PathLike[str]) -> Results:
    """What `spectral run` has written to a folder.

    ```python
    results = studies.load_results("runs/digits")
    results.of("bp")[0].history["test_accuracy"]
    ```

    **Raises:** `SettingsError` if the folder holds no run.
    """
    folder = pathlib.Path(folder)
    if not (folder / MARKER).exists() or not (folder / "config.yaml").exists():
        raise SettingsError(
            f"{str(folder)!r} holds no run: pass a folder that `spectral run` has written."
        )
    settings = read_settings(folder / "config.yaml")
    members = (
        load_member(folder, algorithm, seed)
        for algorithm in settings["algorithms"]
        for seed in range(settings["seeds"])
    )
    return Results(folder, settings, tuple(m for m in members if m is not None))


def save_summary(folder: pathlib.Path, summary: Mapping[str, Any]) -> None:
    """Keep what `summarise` returned in the folder of the run."""
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a file in one step, so that nobody reads half of it."""
    _write(path, lambda file: file.write(text.encode()))


def _write(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            write(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _clear(folder: pathlib.Path) -> None:
    """Delete what runs write, and leave everything else that someone has put there."""
    runs = [p for p in folder.glob("*/seed_*") if re.fullmatch(r"seed_\d+", p.name)]
    kept = (folder / name for name in ("figures", "checkpoints", "events"))
    for path in (*kept, *runs):
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    for parent in {path.parent for path in runs}:
        if not any(parent.iterdir()):
            parent.rmdir()
    for name in ("config.yaml", "summary.json", *SWEEP_FILES):
        (folder / name).unlink(missing_ok=True)
