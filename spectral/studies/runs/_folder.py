"""The folder of a run: when it may be written to, and how it is created or emptied."""

import pathlib
import warnings
from collections.abc import Mapping, Set
from typing import Any, get_args, Literal

import yaml

from ..._arguments import unknown_name
from ..experiment._experiment import APART, MADE_IN_PYTHON, RECORDED
from ..experiment._make import check_names, check_seeds
from ..experiment._own_parts import changed_modules, check_recorded
from ..experiment._settings import differences, read_settings, SettingsError
from ..experiment._watches import WATCH
from ._atomic_write import write_text
from .protection._clear import check_no_links, clear
from .protection._numerics import check_numerics


Mode = Literal["new", "resume", "overwrite", "extend"]

MARKER = ".spectral-run"
CONFIG = "config.yaml"
QUANTITIES = "quantities.json"
_DONE = {"resume": "resumed", "extend": "extended"}


def check_folder(
    folder: pathlib.Path, settings: Mapping[str, Any], recorded: Mapping[str, Any], mode: Mode
) -> None:
    """Check that a run with these settings may write to `folder`.

    `recorded` is what the run will record about itself.

    Warns if the mode is `"resume"` or `"extend"` and the source of a part of one's own has changed.

    **Raises:** `SettingsError` if there is no such mode, if `folder` is a file or holds other
    files, if it holds a run and the mode is `"new"`, if it holds a run of other settings or of
    another precision and the mode is `"resume"` or `"extend"`, if it holds no run and the mode is
    `"extend"`, or if folders of the run are links and the mode is `"overwrite"`.
    """
    if mode not in get_args(Mode):
        raise SettingsError(unknown_name("`mode`: Mode", str(mode), get_args(Mode)))
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
        if was_written_by_a_run(folder):
            raise SettingsError(
                f"{str(folder)!r} holds a run, but its file {MARKER} is missing, as after a copy "
                "without hidden files. Without it nothing in the folder is changed: create it "
                f"again with `touch {folder / MARKER}`."
            )
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
    elif mode == "overwrite":
        check_no_links(folder)
    elif (folder / CONFIG).exists():
        old = read_config(folder)
        before = old.pop(RECORDED, None) or {}
        # A watch changes no result.
        found = list(differences(_without(WATCH, old), _without(WATCH, settings)))
        may_grow = {"extend": "`stream.num_tasks` "}
        if recorded.get(APART) and settings["seeds"] > old["seeds"]:
            may_grow["resume"] = "`seeds` "
        if mode in may_grow:
            found = [phrase for phrase in found if not phrase.startswith(may_grow[mode])]
        if found:
            raise SettingsError(
                f"{str(folder)!r} holds a run of other settings, which cannot be "
                f"{_DONE[mode]}: "
                f"{'; '.join(found)}. Restore the settings, or name another folder."
            )
        if APART in recorded and APART not in before:
            raise SettingsError(
                f"`apart` is true, but the members of the run in {str(folder)!r} were trained "
                "together so far: leave it out, or name another folder."
            )
        check_numerics(before, str(folder))
        if changed := changed_modules(before, recorded):
            warnings.warn(
                f"The source of {', '.join(changed)} has changed since the run in {str(folder)!r} "
                "began: the part that is still to be trained uses the new source.",
                stacklevel=3,
            )


def _without(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {n: value for n, value in settings.items() if n != name}


def open_folder(
    folder: pathlib.Path,
    settings: Mapping[str, Any],
    recorded: Mapping[str, Any],
    mode: Mode,
    *,
    figures: Set[str] = frozenset(),
) -> None:
    """Create the folder, or delete the run in it if the mode says so, and write `config.yaml`.

    `figures` are the names of figures that the quantities of the earlier run have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if mode == "overwrite" and (folder / MARKER).exists():
        clear(folder, figures)
    if not (folder / MARKER).exists():
        (folder / MARKER).touch()
    if mode != "resume" or not (folder / CONFIG).exists() or _has_more(folder, settings):
        text = yaml.safe_dump({**settings, RECORDED: dict(recorded)}, sort_keys=False)
        about = f"# This file can be run again. The section `{RECORDED}` is then ignored.\n"
        if MADE_IN_PYTHON in recorded:
            about = "# A record of parts that were made in Python. It cannot be run again.\n"
        write_text(folder / CONFIG, about + text)


def _has_more(folder: pathlib.Path, settings: Mapping[str, Any]) -> bool:
    """Whether a run has more seeds now than when its folder was written."""
    return settings["seeds"] != read_config(folder)["seeds"]


def began_apart(folder: pathlib.Path, mode: Mode) -> bool:
    """Whether the mode continues the run in a folder, and its members were trained apart."""
    if mode not in _DONE or not all((folder / name).exists() for name in (MARKER, CONFIG)):
        return False
    return bool((read_config(folder).get(RECORDED) or {}).get(APART))


def was_written_by_a_run(folder: pathlib.Path) -> bool:
    """Whether the `config.yaml` of a folder has the record that a run adds."""
    try:
        return isinstance(read_settings(folder / CONFIG).get(RECORDED), Mapping)
    except SettingsError:
        return False


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """The settings in the `config.yaml` of a run.

    **Raises:** `SettingsError` if the file is damaged, or if a section that is needed for reading
    the run was changed to something that no run writes.
    """
    path = folder / CONFIG
    settings = read_settings(path)
    try:
        for place in ("algorithms", "probes"):
            check_names(place, settings.get(place))
            for name, part in settings[place].items():
                _check_part(f"{place}.{name}", part)
        _check_part("stream", settings.get("stream", {}))
        check_seeds(settings.get("seeds"))
        check_recorded(settings.get(RECORDED))
    except SettingsError as error:
        raise SettingsError(
            f"{str(path)!r} was changed after the run had written it: {error} Restore the file."
        ) from error
    return settings


def _check_part(where: str, part: Any) -> None:
    if not isinstance(part, Mapping) or not isinstance(part.get("type", ""), str):
        raise SettingsError(f"`{where}` is {part!r}, but must be a mapping with a `type` of text.")
