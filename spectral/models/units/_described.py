"""Networks that describe their units, whoever wrote them."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, PRNGKeyArray, Shaped

from ._entries import Entries
from ._unit_group import UnitGroup


@runtime_checkable
class DescribesUnits(Protocol):
    """A network that says, in `units()`, where the numbers of its hidden units are.

    This is the one definition of a network with units: probes, algorithms and theory ask for it and
    for nothing else. Any class with this method satisfies it; it need not derive from
    `AbstractNetwork`.
    """

    def units(self) -> tuple[UnitGroup, ...]:
        """The groups of hidden units, layer by layer, named as in the taps."""
        ...


@runtime_checkable
class DrawsFresh(Protocol):
    """A network that gives, by `fresh(key=...)`, a newly initialised network of its shape."""

    def fresh(self, *, key: PRNGKeyArray) -> Any:
        """A newly initialised network of the same shape."""
        ...


def unit_groups(model: Any) -> tuple[UnitGroup, ...]:
    """All groups of hidden units of a network, checked against its arrays.

    **Raises:** `TypeError` for a model that does not describe its units, `ValueError` where the
    description does not fit the model.
    """
    if not isinstance(model, DescribesUnits):
        raise TypeError(
            f"`model` is a {type(model).__name__} without a method `units()`, but this algorithm "
            "needs to know where the weights of each hidden unit are: give it one, as "
            "`spectral.models.AbstractNetwork` describes it."
        )
    groups = model.units()
    for group in groups:
        for kind in _KINDS:
            for entries in getattr(group, kind):
                _check_entries(model, group, kind, entries)
    return groups


def activations_by_unit(
    model: Any, taps: dict[str, Shaped[Array, "examples activations *positions"]]
) -> dict[str, Shaped[Array, "examples units ..."]]:
    """The activations in the taps of a batch, with further axes where a unit has several.

    Layers that the model does not describe, and all layers of a model that does not describe its
    units, count each activation as a unit.
    """
    groups = model.units() if isinstance(model, DescribesUnits) else ()
    known = {group.name: group for group in groups}
    return {name: known[name].by_unit(tap) if name in known else tap for name, tap in taps.items()}


_KINDS = ("incoming", "bias", "scale", "shift", "outgoing")


def _check_entries(model: Any, group: UnitGroup, kind: str, entries: Entries) -> None:
    """**Raises:** `ValueError` if the entries are not found, or cannot be divided among the units
    of the group."""
    wanted = group.size * entries.repeat * entries.tile
    try:
        found = entries.where(model)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        found = error
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) <= entries.axis or shape[entries.axis] != wanted:
        got = repr(found) if shape is None else f"an array of shape {shape}"
        raise ValueError(
            f"The `{kind}` entries of the layer {group.name!r} cannot be found in this "
            f"{type(model).__name__}: `where` gives {got}, but axis {entries.axis} must have "
            f"{wanted} entries (size x repeat x tile): mend the `Entries` in its `units()`."
        )
