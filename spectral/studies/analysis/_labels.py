"""The names of the algorithms of a run, as figures and the report show them."""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..runs._results import Results
from ._published_names import published_name


def labels(results: Results) -> dict[str, str]:
    """A name for each algorithm of a run, all different.

    Algorithms with the name of a recipe are named as publications do: `l2_er` is `L2-ER`. The cells
    of a grid, which a run numbers as `l2-1`, `l2-2`, ..., are named by their recipe and by the
    settings in which the cells of that recipe differ: `L2 (lr 0.01, weight_decay 0.002)`. Other
    names stay as they are.
    """
    algorithms = results.settings["algorithms"]
    cells = {name: _recipe(algorithms, name) for name in algorithms if _is_cell(algorithms, name)}
    named = {name: published_name(name) for name in algorithms}
    for recipe in dict.fromkeys(cells.values()):
        own = {n: dict(_flat(algorithms[n])) for n, r in cells.items() if r == recipe}
        paths = list(dict.fromkeys(path for values in own.values() for path in values))
        varied = [p for p in paths if len({_text(values.get(p)) for values in own.values()}) > 1]
        for name, values in own.items():
            known = ", ".join(f"{p} {_text(values[p])}" for p in varied if p in values)
            named[name] = f"{recipe} ({known})" if known else recipe
    counts = Counter(named.values())
    return {
        name: label if counts[label] == 1 else f"{label} [{name}]" for name, label in named.items()
    }


def relabelled(results: Results, algorithms: Collection[str]) -> Results:
    """The results of some algorithms of a run, which have the names of `labels` there."""
    known, names = results.settings["algorithms"], labels(results)
    settings = results.settings | {"algorithms": {names[a]: known[a] for a in algorithms}}
    members = tuple(
        dataclasses.replace(member, algorithm=names[member.algorithm])
        for member in results.members
        if member.algorithm in algorithms
    )
    return dataclasses.replace(results, settings=settings, members=members)


def _is_cell(algorithms: Mapping[str, Any], name: str) -> bool:
    found = re.fullmatch(r"(.+)-[1-9]\d*", name)
    return found is not None and {f"{found[1]}-1", f"{found[1]}-2"} <= algorithms.keys()


def _recipe(algorithms: Mapping[str, Any], cell: str) -> str:
    """The published name of the recipe of a cell; if it has none, the name of its grid."""
    settings = algorithms[cell]
    kind = str(settings.get("type")) if isinstance(settings, Mapping) else str(settings)
    published = published_name(kind)
    return published if published != kind else published_name(cell.rsplit("-", 1)[0])


def _flat(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The single settings by dotted path, without the name of the recipe."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if path or name != "type":
                yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, settings


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
