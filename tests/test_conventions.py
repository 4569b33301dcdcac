"""The rules of the house: which way imports go, what files are called, what may be subclassed."""

import ast
import importlib
import inspect
import pathlib

import equinox as eqx
import pytest


PACKAGE = pathlib.Path(__file__).parent.parent / "spectral"
# Each may import from those before it. `_arguments` and `_blas` stand below the nouns.
ORDER = [
    "_arguments",
    "_blas",
    "_types",
    "models",
    "curvature",
    "tasks",
    "algorithms",
    "probes",
] + ["theory", "_history", "_divergence", "_core", "_ensemble", "_loop", "studies"]
# What they hold is imported when it is first used, so their own files may name them.
LAZY = {"studies"}
BANNED = {"util", "utils", "misc", "helper", "helpers", "common", "tools", "lib"}


def imports_against_the_order(source: str, path: pathlib.PurePath) -> list[str]:
    """Imports of `spectral` that go up or sideways, or stand inside a function."""
    room = path.parts[0].removesuffix(".py") if path.parts else ""
    depth = len(path.parts) - 1
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        targets: list[str] = []
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.ImportFrom):
            if node.level > depth:  # from .., or from . at the top: names rooms
                targets = [node.module] if node.module else [a.name for a in node.names]
            elif node.level == 0 and (node.module or "").split(".")[0] == "spectral":
                rest = (node.module or "").split(".")[1:]
                targets = [".".join(rest)] if rest else [a.name for a in node.names]
            elif node.level and id(node) not in top:
                targets = [room]
        elif isinstance(node, ast.Import):
            targets = [
                a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "spectral"
            ]
        for target in targets:
            other = target.split(".")[0]
            if isinstance(node, ast.ImportFrom) and not node.module:
                if other == room and other in LAZY and id(node) in top:
                    continue
            if id(node) not in top:
                found.append(f"{path}:{line} imports {other} inside a function or a branch")
            elif other not in ORDER or room not in ORDER:
                found.append(f"{path}:{line} imports {other}, which has no place in the order")
            elif ORDER.index(other) >= ORDER.index(room):
                found.append(f"{path}:{line} imports {other}, which is not below {room}")
    return found


def badly_named(path: pathlib.PurePath) -> bool:
    return any(part.removesuffix(".py").strip("_") in BANNED for part in path.parts)


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


def _sources():
    files = [p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"]
    return [p.relative_to(PACKAGE) for p in files]


@pytest.mark.parametrize("path", _sources(), ids=str)
def test_imports_go_one_way(path):
    assert imports_against_the_order((PACKAGE / path).read_text(), path) == []


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from ..tasks import PermutedImages", "models/_mlp.py"),
        ("from ..models import MLP", "models/_mlp.py"),
        ("from spectral.studies import load", "probes/_dead_units.py"),
        ("from spectral import train_continual", "algorithms/_l2.py"),
        ("import spectral._loop", "_core.py"),
        ("from ._loop import train_continual", "_core.py"),
        ("def f():\n    from ..models import MLP", "tasks/_base.py"),
        ("def f():\n    from ._base import x", "tasks/_images.py"),
        ("if True:\n    from .. import _types", "tasks/_images.py"),
        ("from ..helpers import f", "studies/_cli.py"),
        ("from .. import models", "models/_mlp.py"),
        ("def f():\n    from .. import studies", "studies/_cli.py"),
    ],
)
def test_the_import_test_finds_a_planted_violation(source, path):
    assert imports_against_the_order(source, pathlib.PurePath(path))


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from ..models import MLP", "tasks/_base.py"),
        ("from ._base import x\nimport jax", "tasks/_images.py"),
        ("from .models import MLP", "_core.py"),
        ("def f():\n    import tensorflow_datasets", "tasks/_images.py"),
        ("from .. import _types", "tasks/_images.py"),
    ],
)
def test_the_import_test_lets_pass_what_is_allowed(source, path):
    assert imports_against_the_order(source, pathlib.PurePath(path)) == []


def test_files_are_named_for_what_they_hold():
    assert [p for p in _sources() if badly_named(p)] == []
    assert badly_named(pathlib.PurePath("models/_utils.py"))
    assert badly_named(pathlib.PurePath("helpers/_mlp.py"))
    assert not badly_named(pathlib.PurePath("models/_commonness.py"))


def test_median_file_is_short():
    lengths = sorted(len((PACKAGE / p).read_text().splitlines()) for p in _sources())
    assert lengths[len(lengths) // 2] <= 200


def test_classes_are_abstract_or_final():

    for path in _sources():
        name = ".".join(["spectral", *path.with_suffix("").parts]).removesuffix(".__init__")
        importlib.import_module(name)
    classes, todo = [], [eqx.Module]
    while todo:
        for own in todo.pop().__subclasses__():
            todo.append(own)
            if own.__module__.split(".")[0] == "spectral":
                classes.append(own)
    assert len(classes) > 20
    assert subclasses_of_concrete(classes) == []


def test_the_class_test_finds_a_planted_violation():
    class Concrete(eqx.Module):
        x: int

    class Sub(Concrete):
        pass

    assert subclasses_of_concrete([Concrete, Sub]) == [
        f"{Sub.__qualname__} derives from the concrete {Concrete.__qualname__}"
    ]
