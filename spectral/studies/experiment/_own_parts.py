"""Parts of one's own in settings: `package.module:Name` in place of a public name."""

import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from ..._arguments import unknown_name
from ._settings import SettingsError


OWN_PARTS = "own_parts"  # where the record of a run holds what is known of them
_MOST_NAMES = 20  # in a message
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_own(name: Any) -> bool:
    """Whether a value of settings has the form `package.module:Name`."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def import_from(folders: tuple[pathlib.Path, ...]) -> None:
    """Let modules be imported from these folders, after all folders of the import path.

    They stay on the path, as the folder of a script does, because a module may import others when
    it is used.
    """
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def own_object(name: str, where: str, folders: tuple[pathlib.Path, ...]) -> Any:
    """Import the object that `package.module:Name` names.

    **Arguments:**

    - `where`: the path in the settings, for messages.
    - `folders`: those of `import_from`.

    **Raises:** `SettingsError` if the module cannot be imported, if it is another one than the one
    in `folders`, or if it does not have the name.
    """
    module_name, _, path = name.partition(":")
    import_from(folders)
    try:
        value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        places = "".join(f" or in {str(folder)!r}" for folder in folders)
        raise SettingsError(
            f"`{where}` is {name!r}, but the module {missing!r} is not on the import path{places}: "
            "install its package, or put the module beside the YAML file."
        ) from error
    except (Exception, SystemExit) as error:
        raise SettingsError(
            f"`{where}` is {name!r}, but the import of {module_name!r} raised "
            f"{type(error).__name__}: {error}. Correct the module."
        ) from error
    _check_place(module_name, where, folders)
    for part in path.split("."):
        if not hasattr(value, part):
            what = f"`{where}`: Name in {module_name!r}"
            raise SettingsError(unknown_name(what, part, _defined_in(value), most=_MOST_NAMES))
        value = getattr(value, part)
    return value


def exists(name: str, folders: tuple[pathlib.Path, ...]) -> bool:
    """Whether there is the top-level module of `package.module:Name`. It is not imported."""
    import_from(folders)
    top = name.partition(":")[0].partition(".")[0]
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):  # a module without a specification
        return False


def own_parts(settings: Any, folders: tuple[pathlib.Path, ...]) -> dict[str, Any] | None:
    """What a run records of the modules that its settings name; `None` if they name none.

    For each module: its `distribution` with the version (`None` outside any), and the SHA-256 hash
    of the `source` of its top-level package or module. The modules are those that settings name,
    and all others below `folders` that have been imported. A folder without such a module is left
    out, so a run of installed packages names no place of this machine.
    """
    named = {value.partition(":")[0] for value in _own_names(settings)} & sys.modules.keys()
    known = {name.partition(".")[0] for name in named}
    found = named | (_imported_from(folders) - known) if named else set()
    installed = metadata.packages_distributions() if found else {}
    modules = {name: _about(name, installed) for name in sorted(found)}
    used = [str(folder) for folder in folders if _imported_from((folder,))]
    return {"folders": used, "modules": modules} if modules else None


def recorded_folders(recorded: Any) -> tuple[pathlib.Path, ...]:
    """The folders in what `own_parts` returned for the record of a run."""
    own = recorded.get(OWN_PARTS) if isinstance(recorded, Mapping) else None
    return tuple(map(pathlib.Path, own["folders"])) if own else ()


def check_recorded(recorded: Any) -> None:
    """Check the record of a run in its settings, as far as it is read.

    **Raises:** `SettingsError` if it is not as a run writes it.
    """
    own = recorded.get(OWN_PARTS) if isinstance(recorded, Mapping) else None
    sound = recorded is None or isinstance(recorded, Mapping)
    if own is not None:
        folders = own.get("folders") if isinstance(own, Mapping) else None
        sound = isinstance(folders, list) and all(isinstance(f, str) for f in folders)
        sound = sound and isinstance(own.get("modules", {}), Mapping)
    if not sound:
        raise SettingsError(
            f"`recorded` is {recorded!r}, but must be as `spectral run` has written it: restore "
            "it, or leave the section out."
        )


def changed_modules(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The modules that differ between two records of a run."""
    before, now = ((given.get(OWN_PARTS) or {}).get("modules", {}) for given in (old, new))
    return [name for name, about in now.items() if name in before and before[name] != about]


def place_in_own_code(error: BaseException) -> str:
    """File and line at which an error was raised in code that is neither ours nor installed, in
    brackets; empty if there is no such line."""
    ours = str(pathlib.Path(__file__).parents[2])
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f for f in frames if not f.filename.startswith(ours) and "site-packages" not in f.filename
    ]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _own_names(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        for value in settings.values():
            yield from _own_names(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _own_names(value)
    elif is_own(settings):
        yield settings


def _defined_in(value: Any) -> list[str]:
    """The public names of a module or class; of a module those that its package defines, and all
    only if it defines none."""
    known = [n for n in vars(value) if not n.startswith("_")]
    if not inspect.ismodule(value):
        return known
    top = value.__name__.partition(".")[0]
    home = lambda x: getattr(x, "__module__", None) or ""
    own = [n for n in known if home(getattr(value, n)).partition(".")[0] == top]
    return own or known


def _imported_from(folders: tuple[pathlib.Path, ...]) -> set[str]:
    """The top-level modules whose source lies below one of the folders, without this package and
    without what is installed there, as in a virtual environment."""
    paths = sysconfig.get_paths()
    installed = [pathlib.Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")]
    ours = {__name__.partition(".")[0], "spectral_plasticity", "__main__"}
    found = set()
    for name, module in list(sys.modules.items()):
        place = next(iter(getattr(module, "__path__", ())), None) or _file(module)
        if "." in name or name in ours or place is None:
            continue
        path = pathlib.Path(place).resolve()
        packaged = {"site-packages", "dist-packages"} & set(path.parts)
        if any(map(path.is_relative_to, folders)) and not packaged:
            if not any(map(path.is_relative_to, installed)):
                found.add(name)
    return found


def _about(name: str, installed: Mapping[str, list[str]]) -> dict[str, Any]:
    top = name.partition(".")[0]
    distributions = dict.fromkeys(installed.get(top, []))
    versions = [f"{own} {metadata.version(own)}" for own in distributions]
    digest = hashlib.sha256()
    for path in _sources(top):
        digest.update(path.read_bytes())
    return {"distribution": ", ".join(versions) or None, "source": digest.hexdigest()}


def _sources(top: str) -> list[pathlib.Path]:
    """The Python files of a top-level package, or the file of a module."""
    module = sys.modules[top]
    folders = list(getattr(module, "__path__", ()))
    if folders:
        return sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*.py"))
    file = _file(module)
    return [pathlib.Path(file)] if file else []


def _file(module: Any) -> str | None:
    return getattr(module, "__file__", None)


def _check_place(module_name: str, where: str, folders: tuple[pathlib.Path, ...]) -> None:
    """Check that a module that lies in `folders` is not hidden by another of the same name."""
    top = module_name.partition(".")[0]
    imported = _sources(top)
    for folder in folders:
        beside = folder / f"{top}.py"
        beside = beside if beside.exists() else folder / top / "__init__.py"
        if beside.exists() and beside.resolve() not in {path.resolve() for path in imported}:
            raise SettingsError(
                f"`{where}` names the module {top!r}, which was imported from "
                f"{str(imported[0]) if imported else 'elsewhere'!r}, but {str(beside)!r} has the "
                "same name: rename one of them."
            )
