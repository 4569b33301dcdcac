"""The rules of the house: what files are called, how long and how many they are, what may be
subclassed, and that every public name has one place."""

import dataclasses
import importlib
import inspect
import pathlib
import sys
from collections import Counter
from typing import Any, cast, get_args, get_origin, Literal

import equinox as eqx
import pytest

import spectral


PACKAGE = pathlib.Path(__file__).parents[2] / "spectral"
BANNED = {"util", "utils", "misc", "helper", "helpers", "common", "tools", "lib"}
MOST_LINES, MEDIAN_LINES, MOST_FILES = 300, 100, 16


def badly_named(path: pathlib.PurePath) -> bool:
    return any(part.removesuffix(".py").strip("_") in BANNED for part in path.parts)


def too_full(paths: list[pathlib.PurePath]) -> dict[str, int]:
    """Folders with more files than allowed, `__init__` not counted."""
    counts = Counter(p.parent.as_posix() for p in paths if p.name != "__init__.py")
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


def subclasses_of_concrete(classes: list[type]) -> list[str]:
    """Modules that derive from a Module that can be instantiated."""
    found = []
    for own in classes:
        for base in own.__bases__:
            ours = base.__module__.split(".")[0] == own.__module__.split(".")[0]
            if ours and issubclass(base, eqx.Module) and not _is_abstract(base):
                found.append(f"{own.__qualname__} derives from the concrete {base.__qualname__}")
    return found


def _is_abstract(own: type) -> bool:
    return inspect.isabstract(own) or bool(getattr(own, "__abstractvars__", ()))


def _sources() -> list[pathlib.PurePath]:
    return [p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py")]


def test_files_are_named_for_what_they_hold():
    assert [p for p in _sources() if badly_named(p)] == []
    assert badly_named(pathlib.PurePath("models/_utils.py"))
    assert badly_named(pathlib.PurePath("helpers/_mlp.py"))
    assert not badly_named(pathlib.PurePath("models/_commonness.py"))


def test_no_folder_is_too_full():
    assert too_full(_sources()) == {}
    crowd = [pathlib.PurePath(f"models/_{i}.py") for i in range(MOST_FILES + 1)]
    assert too_full(crowd) == {"models": MOST_FILES + 1}


def test_files_are_short():
    lengths = {p: len((PACKAGE / p).read_text().splitlines()) for p in _sources()}
    assert {p: n for p, n in lengths.items() if n > MOST_LINES} == {}
    own = sorted(n for p, n in lengths.items() if p.name != "__init__.py")
    assert own[len(own) // 2] < MEDIAN_LINES


def modules() -> list[type]:
    """All Modules of the package."""
    for path in _sources():
        name = ".".join(["spectral", *path.with_suffix("").parts]).removesuffix(".__init__")
        importlib.import_module(name)
    classes, todo = [], [eqx.Module]
    while todo:
        for own in todo.pop().__subclasses__():
            todo.append(own)
            if own.__module__.split(".")[0] == "spectral" and _is_at_home(own):
                classes.append(own)
    assert len(classes) > 20
    return classes


def _is_at_home(own: type) -> bool:
    """Whether a class is one of its module. Those of docstring examples only have its name."""
    return getattr(sys.modules[own.__module__], own.__name__, None) is own


def test_classes_are_abstract_or_final():
    assert subclasses_of_concrete(modules()) == []


def test_a_planted_subclass_is_found():
    class Concrete(eqx.Module):
        x: int

    class Sub(Concrete):
        pass

    assert subclasses_of_concrete([Concrete, Sub]) == [
        f"{Sub.__qualname__} derives from the concrete {Concrete.__qualname__}"
    ]


def sizes_as_data(classes: list[type]) -> list[str]:
    """Fields for sizes, switches and names that are data of a pytree instead of its structure.

    A layer's `inference` is data, as in Equinox, so that `eqx.nn.inference_mode` finds it.
    """
    return [
        f"{own.__qualname__}.{field.name}"
        for own in classes
        for field in dataclasses.fields(cast(Any, own))
        if not field.metadata.get("static") and field.name != "inference" and _is_size(field.type)
    ]


def _is_size(annotation: Any) -> bool:
    """Whether all values of the annotation are ints, bools, strings, None or tuples of them."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal or annotation in (int, bool, str):
        return True
    return bool(parts) and all(p in (None, type(None), ...) or _is_size(p) for p in parts)


def test_sizes_are_static():
    assert sizes_as_data(modules()) == []

    class Data(eqx.Module):
        order: int
        names: tuple[str, ...]
        kind: Literal["a", "b"] | None
        every: int = eqx.field(static=True)

    assert [name.split(".")[-1] for name in sizes_as_data([Data])] == ["order", "names", "kind"]


ROOMS = ("models", "curvature", "tasks", "algorithms", "probes", "theory", "recording", "studies")


def public_names() -> dict[str, list[str]]:
    """By identity of what is exported, under which names it can be imported."""
    places: dict[int, list[str]] = {}
    rooms = {"spectral": spectral} | {
        f"spectral.{room}": importlib.import_module(f"spectral.{room}") for room in ROOMS
    }
    for place, room in rooms.items():
        for name in dir(room):
            value = getattr(room, name)
            own = getattr(value, "__module__", None) or ""
            if not name.startswith("_") and own.split(".")[0] == "spectral":
                places.setdefault(id(value), []).append(f"{place}.{name}")
    return {names[0]: names for names in places.values()}


def test_each_public_name_has_one_place():
    names = public_names()
    assert len(names) > 150
    assert {first: all_ for first, all_ in names.items() if len(all_) > 1} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_shelves_export_nothing(room):
    """`from spectral.curvature import Lanczos`: public names are those of the rooms."""
    for path in (PACKAGE / room).rglob("__init__.py"):
        shelf = path.parent.relative_to(PACKAGE).as_posix()
        if shelf not in (room, "theory/as_printed", "theory/strategies"):
            assert "import" not in path.read_text().split('"""')[-1], shelf
