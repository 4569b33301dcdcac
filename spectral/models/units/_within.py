"""The units of a part of a network, as units of the whole."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ._entries import Entries
from ._unit_group import UnitGroup


def within(group: UnitGroup, part: Callable[[Any], Any], *, prefix: str = "") -> UnitGroup:
    """The group as it is found from the whole network, where `part(network)` is the part that it
    describes; `prefix` goes before its name."""

    def inner(where: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda model: where(part(model))

    def moved(entries: Entries) -> Entries:
        places = {n: getattr(entries, n) for n in ("where", "fed_bias", "mask")}
        places = {n: None if where is None else inner(where) for n, where in places.items()}
        return dataclasses.replace(entries, **places)

    kinds = ("incoming", "bias", "outgoing", "scale", "shift")
    return dataclasses.replace(
        group,
        name=prefix + group.name,
        statistics=tuple(map(inner, group.statistics)),
        **{kind: tuple(map(moved, getattr(group, kind))) for kind in kinds},
    )
