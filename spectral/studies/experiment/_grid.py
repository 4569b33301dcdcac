"""Grids: settings in which a list of values stands in the place of one value."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from ._settings import SettingsError


GRID = "grid"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the grid of an algorithm."""

    algorithm: str
    values: dict[str, Any]  # the settings that vary in the grid, by dotted path
    settings: Any  # of the algorithm


def expand(algorithms: Mapping[str, Any]) -> dict[str, Cell]:
    """The cells of all algorithms by name: `l2-1`, `l2-2`, ..., or `bp` if there is only one.

    A mapping `{grid: [a, b, c]}` in the place of a value gives a cell for each element. The place
    may be in a list, such as an element of `args`; its index is then in the path. Several
    grids give all combinations, in which the last grid changes first. A grid may also stand in the
    place of a whole algorithm. Its elements are then whole algorithms, under the path `settings`.

    **Raises:** `SettingsError` if a grid has no values, or if two cells would have the same name.
    """
    found: dict[str, Cell] = {}
    for name, settings in algorithms.items():
        axes = dict(_axes(settings, (), f"algorithms.{name}"))
        points = list(itertools.product(*axes.values()))
        for i, point in enumerate(points, start=1):
            cell = name if len(points) == 1 else f"{name}-{i}"
            if cell in found or (cell != name and cell in algorithms):
                raise SettingsError(
                    f"`algorithms` has the name {cell!r}, but a cell of the grid of {name!r} has "
                    "the same name: rename the algorithm."
                )
            values = dict(zip(axes, point, strict=True))
            filled = settings
            for path, value in values.items():
                filled = _fill(filled, path, value)
            named = {".".join(map(str, p)) or "settings": value for p, value in values.items()}
            found[cell] = Cell(name, named, filled)
    return found


def _axes(
    settings: Any, path: tuple[Any, ...], where: str
) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    """The path of every grid, of names and indices, and its values."""
    if isinstance(settings, list):
        for i, value in enumerate(settings):
            yield from _axes(value, (*path, i), f"{where}.{i}")
    if not isinstance(settings, Mapping):
        return
    if GRID in settings:
        values = settings[GRID]
        if len(settings) > 1 or not isinstance(values, list) or not values:
            raise SettingsError(
                f"`{where}` is {dict(settings)!r}, but a grid must be a list of at least one value "
                f"and nothing else: for example {{{GRID}: [1e-2, 1e-3]}}."
            )
        yield path, values
        return
    for name, value in settings.items():
        yield from _axes(value, (*path, name), f"{where}.{name}")


def _fill(settings: Any, path: tuple[Any, ...], value: Any) -> Any:
    """`settings` with `value` at `path`."""
    if not path:
        return value
    name, *rest = path
    if isinstance(settings, list):
        return [*settings[:name], _fill(settings[name], tuple(rest), value), *settings[name + 1 :]]
    return {**settings, name: _fill(settings[name], tuple(rest), value)}
