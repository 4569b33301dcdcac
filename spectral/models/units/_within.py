"""The units of a subnetwork as units of the whole network."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ._entries import Entries
from ._unit_group import UnitGroup


def within(group: UnitGroup, part: Callable[[Any], Any], *, prefix: str = "") -> UnitGroup:
    """Returns a group of the subnetwork `part(network)` as a group of the whole network, with
    `prefix` before its name."""

    def inner(where: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda model: where(part(model))

    def moved(entries: Entries) -> Entries:
        places = {n: getattr(entries, n) for n in ("where", "fed_bias", "mask")}
        places = {n: None if where is None else inner(where) for n, where in places.items()}
        return dataclasses.replace(entries, **places)

    kinds = ("incoming", "bias", "outgoing", "scale", "shift", "activation")
    return dataclasses.replace(
        group,
        name=prefix + group.name,
        inside=tuple(prefix + name for name in group.inside),
        statistics=tuple(map(inner, group.statistics)),
        shared=tuple(map(inner, group.shared)),
        **{kind: tuple(map(moved, getattr(group, kind))) for kind in kinds},
    )
