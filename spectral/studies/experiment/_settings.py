"""Settings: nested mappings that are read from YAML, changed by dotted paths, and compared."""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..._arguments import unknown_name
from ..._base._paths import expanded
from ._yaml import load_yaml


class SettingsError(ValueError):
    """Something that the user has to change before anything can be run or drawn.

    The command line prints the message and exits with status 2.
    """


def given_path(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """The path that was given as the argument `name`, with `~` as the home folder.

    **Raises:** `SettingsError` if there is no such user.
    """
    try:
        return expanded(name, path)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def read_settings(path: pathlib.Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Differs from YAML 1.1 in two ways: `1e-3` is a number and not text, and a repeated key is an
    error.

    **Raises:** `SettingsError` if the file cannot be read or does not hold a YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(
            f"{str(path)!r} cannot be read: {reason}. Pass a YAML file that describes an "
            "experiment; `spectral init` lists examples."
        ) from error
    settings = _parse(text, str(path))
    if not isinstance(settings, dict):
        raise SettingsError(
            f"{str(path)!r} holds {settings!r}, but must hold a mapping with the keys stream, "
            "model and algorithms; `spectral init` lists examples."
        )
    return settings


def override(settings: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """Returns `settings` with one value replaced, for an assignment such as `stream.num_tasks=20`.

    The value is YAML. A new name can be added at the top level and to a mapping with a `type`,
    whose arguments are checked later, when it is constructed.

    **Raises:** `SettingsError` if the path does not exist or if the value is not YAML.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not all(path.split(".")):
        raise SettingsError(
            f"`--set` is {assignment!r}, but must be a dotted path, `=` and a value: for example "
            "--set stream.num_tasks=20."
        )
    return replaced(settings, path, _parse(text, f"--set {path}"))


def replaced(settings: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Returns `settings` with the value at a dotted path replaced, by the rules of `override`.

    **Raises:** `SettingsError` if the path does not exist.
    """
    return _replace(settings, path.split("."), value, ())


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yields a phrase for every place at which two settings differ.

    An absent setting equals None, so that a version with a new option resumes runs of the version
    before it, as long as nobody uses the option.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys(), key=str):
            path = f"{where}.{name}" if where else name
            yield from differences(old.get(name, _ABSENT), new.get(name, _ABSENT), path)
    elif old != new and not all(x is None or x is _ABSENT for x in (old, new)):
        was, now = ("absent" if x is _ABSENT else repr(x) for x in (old, new))
        yield f"`{where}` was {was} and is now {now}"


_ABSENT = object()


def _replace(tree: Any, path: list[str], value: Any, done: tuple[str, ...]) -> dict[str, Any]:
    name, *rest = path
    here = ".".join(done)
    if not isinstance(tree, Mapping):
        raise SettingsError(
            f"`{here}` is {tree!r} and has no part {name!r}: set the whole of `{here}` with --set."
        )
    may_be_new = not rest and (not done or "type" in tree)
    if name not in tree and not may_be_new:
        what = f"`{'.'.join((*done, name))}`: Name"
        raise SettingsError(unknown_name(what, name, map(str, tree)))
    return {**tree, name: _replace(tree[name], rest, value, (*done, name)) if rest else value}


def _parse(text: str, source: str) -> Any:
    try:
        return load_yaml(text)
    except ValueError as error:
        raise SettingsError(f"{source}{error}") from error
