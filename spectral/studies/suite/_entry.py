"""What is scored: a recipe, a function of one's own, or the settings in a YAML file."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..._arguments import unknown_name
from ...algorithms import Algorithm
from ..experiment._constructors import constructors, parameters
from ..experiment._grid import Cell, expand
from ..experiment._own_parts import is_own, own_object
from ..experiment._settings import given_path, read_settings, SettingsError
from ._suite import Suite, SuiteStream, Track
from ._unannounced import unannounced


_PERIODS = ("period", "er_period")
_HIDES = f"{unannounced.__module__}:{unannounced.__name__}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """An algorithm that is scored, with the settings that it tries on each stream."""

    name: str
    cells: dict[str, dict[str, Cell]]  # by stream and name of the cell
    folders: tuple[pathlib.Path, ...]  # where modules of one's own are looked for


def read_entry(given: str | os.PathLike[str], suite: Suite, track: Track) -> Entry:
    """The algorithm that a recipe's name, `my_module:my_algorithm` or a YAML file names.

    A name gets the learning rates of the suite. A YAML file holds the settings of one algorithm
    for all streams, or of one for each stream, with grids of at most the same number of settings.

    **Raises:** `SettingsError` if there is no such algorithm, if a stream is missing in the file,
    or if it tries more settings than the suite allows.
    """
    text, folder = os.fspath(given), pathlib.Path.cwd()
    if is_own(text):
        make, name = own_object(text, "NAME", (folder,)), text.partition(":")[2]
        chosen = {stream.name: _named(text, make, stream) for stream in suite.streams}
    elif text.endswith((".yaml", ".yml")):
        path = given_path("NAME", given)
        name, folder = path.stem, path.parent.resolve()
        chosen = _of_file(path, suite)
    else:
        known = recipes()
        if text not in known:
            raise SettingsError(unknown_name("NAME: Recipe", text, known))
        name = text
        chosen = {stream.name: _named(text, known[text], stream) for stream in suite.streams}
    name = re.sub(r"[^A-Za-z0-9_+-]", "_", name)
    if track == "hidden":
        chosen = {n: {"type": _HIDES, "algorithm": settings} for n, settings in chosen.items()}
    cells = {n: expand({name: settings}) for n, settings in chosen.items()}
    for stream, own in cells.items():
        if len(own) > suite.most_settings:
            raise SettingsError(
                f"NAME is {text!r}, which tries {len(own)} settings on {stream!r}, but everyone "
                f"may try {suite.most_settings} on a stream: make its grid smaller."
            )
    return Entry(name, cells, (folder,))


def recipes() -> dict[str, Callable[..., Algorithm]]:
    """The recipes that the suite can tune, by name: those with a learning rate."""
    return {n: make for n, make in constructors(Algorithm).items() if "lr" in parameters(make)}


def _named(text: str, make: Any, stream: SuiteStream) -> dict[str, Any]:
    """The settings of a function by its name, with the learning rates of the suite."""
    known = parameters(make)
    if "lr" not in known:
        raise SettingsError(
            f"NAME is {text!r}, which takes no `lr`, but the suite tunes this argument: add it, or "
            "pass a YAML file with settings of your own."
        )
    fitted = {}
    for period in _PERIODS:
        default = known[period].default if period in known else None
        if isinstance(default, int) and default > stream.longest_period:
            fitted[period] = stream.longest_period
    return {"type": text, "lr": stream.lr, **fitted}


def _of_file(path: pathlib.Path, suite: Suite) -> dict[str, Any]:
    """The settings in a file, by stream."""
    settings = read_settings(path)
    names = [stream.name for stream in suite.streams]
    if "type" in settings:
        return dict.fromkeys(names, settings)
    for name in names:
        if not isinstance(settings.get(name), Mapping):
            raise SettingsError(
                f"{str(path)!r} has no algorithm for {name!r}, but must hold one algorithm with a "
                f"`type`, or one for each of {', '.join(names)}: add it."
            )
    for name in settings:
        if name not in names:
            raise SettingsError(unknown_name(f"{str(path)!r}: Stream", str(name), names))
    return {name: settings[name] for name in names}
