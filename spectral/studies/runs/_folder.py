"""The folder of a run: when it may be written to, and how it is created or emptied."""

import pathlib
import re
import shutil
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import yaml

from ..experiment._experiment import MADE_IN_PYTHON, RECORDED
from ..experiment._own_parts import changed_modules
from ..experiment._settings import differences, read_settings, SettingsError
from ._atomic_write import write_text


Mode = Literal["new", "resume", "overwrite", "extend"]

MARKER = ".spectral-run"
CONFIG = "config.yaml"
QUANTITIES = "quantities.json"
_DONE = {"resume": "resumed", "extend": "extended"}
SWEEP_FILES = ("sweep.yaml", "sweep.csv", "selected.yaml")


def check_folder(
    folder: pathlib.Path, settings: Mapping[str, Any], recorded: Mapping[str, Any], mode: Mode
) -> None:
    """Check that a run with these settings may write to `folder`.

    Warns if the mode is `"resume"` or `"extend"` and the source of a part of one's own has changed.

    **Raises:** `SettingsError` if `folder` is a file or holds other files, if it holds a run and
    the mode is `"new"`, if it holds a run of other settings and the mode is `"resume"` or
    `"extend"`, or if it holds no run and the mode is `"extend"`.
    """
    if mode == "extend" and not (folder / CONFIG).exists():
        raise SettingsError(
            f"`--out` is {str(folder)!r}, which holds no run to extend: name the folder of a run, "
            "or leave --extend out."
        )
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"`--out` is {str(folder)!r}, which is a file: name a folder.")
    if not (folder / MARKER).exists():
        if any(folder.iterdir()):
            raise SettingsError(
                f"`--out` is {str(folder)!r}, which holds files that were not written by a run: "
                "name an empty or a new folder."
            )
    elif mode == "new":
        raise SettingsError(
            f"`--out` is {str(folder)!r}, which holds a run already: pass --resume to continue it, "
            "--extend to add tasks, --overwrite to replace it, or name another folder."
        )
    elif mode != "overwrite" and (folder / CONFIG).exists():
        old = read_settings(folder / CONFIG)
        before = old.pop(RECORDED, {})
        found = list(differences(old, settings))
        if mode == "extend":
            found = [phrase for phrase in found if not phrase.startswith("`stream.num_tasks` ")]
        if found:
            raise SettingsError(
                f"{str(folder)!r} holds a run of other settings, which cannot be "
                f"{_DONE[mode]}: "
                f"{'; '.join(found)}. Restore the settings, or name another folder."
            )
        if changed := changed_modules(before, recorded):
            warnings.warn(
                f"The source of {', '.join(changed)} has changed since the run in {str(folder)!r} "
                "began: the part that is still to be trained uses the new source.",
                stacklevel=3,
            )


def open_folder(
    folder: pathlib.Path, settings: Mapping[str, Any], recorded: Mapping[str, Any], mode: Mode
) -> None:
    """Create the folder, or delete the run in it if the mode says so, and write `config.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    if mode == "overwrite" and (folder / MARKER).exists():
        _clear(folder)
    if not (folder / MARKER).exists():
        (folder / MARKER).touch()
    if mode != "resume" or not (folder / CONFIG).exists():
        text = yaml.safe_dump({**settings, RECORDED: dict(recorded)}, sort_keys=False)
        about = f"# This file can be run again. The section `{RECORDED}` is then ignored.\n"
        if MADE_IN_PYTHON in recorded:
            about = "# A record of parts that were made in Python. It cannot be run again.\n"
        write_text(folder / CONFIG, about + text)


def _clear(folder: pathlib.Path) -> None:
    """Delete the files that runs and sweeps write, and keep all others."""
    runs = [p for p in folder.glob("*/seed_*") if re.fullmatch(r"seed_\d+", p.name)]
    written = (folder / name for name in ("figures", "checkpoints", "events"))
    for path in (*written, *runs):
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    for parent in {path.parent for path in runs}:
        if not any(parent.iterdir()):
            parent.rmdir()
    for name in (CONFIG, QUANTITIES, "summary.json", *SWEEP_FILES):
        (folder / name).unlink(missing_ok=True)
