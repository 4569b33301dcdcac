"""Networks that describe their units, whether or not they derive from `AbstractNetwork`."""

from typing import Any, Protocol, runtime_checkable, TypeGuard

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped

from ._entries import Entries
from ._unit_group import UnitGroup


@runtime_checkable
class DescribesUnits(Protocol):
    """A network with a method `units()` that says where the parameters of its hidden units are.

    Any class with this method satisfies the protocol; it need not derive from `AbstractNetwork`.
    """

    def units(self) -> tuple[UnitGroup, ...]:
        """One group of hidden units per layer, with the name of the layer in the taps."""
        ...


@runtime_checkable
class DrawsFresh(Protocol):
    """A network with a method `fresh(key=...)` that returns a newly initialised network."""

    def fresh(self, *, key: PRNGKeyArray) -> Any:
        """Returns a newly initialised network of the same shape."""
        ...


def has_units(model: Any) -> TypeGuard[DescribesUnits]:
    """Whether a network describes its units. A field `units`, such as a width, does not."""
    return isinstance(model, DescribesUnits) and callable(model.units)


def unit_groups(model: Any) -> tuple[UnitGroup, ...]:
    """Returns all groups of hidden units of a network, checked against its arrays.

    **Raises:** `TypeError` if the model does not describe its units, `ValueError` if the
    description does not fit the model.
    """
    if not has_units(model):
        raise TypeError(
            f"`model` is a {type(model).__name__} without a method `units()`, but here the "
            "parameters of each hidden unit are needed: define `units()` as "
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
    """Returns the taps of a batch with further axes in layers whose units have several activations.

    In layers that the model does not describe, and in models that do not describe their units,
    every activation counts as a unit. Taps inside units (`UnitGroup.inside`) are left out.

    **Raises:** `ValueError` if a tap does not have the size that `units()` describes.
    """
    known, inside = _known(model)
    return {
        name: known[name].by_unit(tap) if name in known else tap
        for name, tap in taps.items()
        if name not in inside
    }


def vectors_of_features(
    model: Any, taps: dict[str, Shaped[Array, "examples ..."]]
) -> dict[str, Shaped[Array, "_ _"]]:
    """Returns the taps of a batch as matrices with one row for each vector of features.

    A dense layer has a row for each example; a layer of tokens has one for each example and token,
    examples outermost. Other layers with positions, such as convolutions, are left out, and so are
    taps inside units (`UnitGroup.inside`).

    ```python
    taps = {"hidden_0": jnp.ones((5, 4)), "conv_0": jnp.ones((5, 4, 3, 3))}
    vectors_of_features(model, taps)   # {"hidden_0": [5, 4]}
    ```
    """
    known, inside = _known(model)
    found = {}
    for name, tap in taps.items():
        if name in known and known[name].tokens:
            found[name] = jnp.swapaxes(tap, 1, 2).reshape(-1, tap.shape[1])
        elif tap.ndim == 2 and name not in inside:
            found[name] = tap
    return found


def _known(model: Any) -> tuple[dict[str, UnitGroup], set[str]]:
    """The groups of a model by name, and the names of the taps inside their units."""
    groups = model.units() if has_units(model) else ()
    return {g.name: g for g in groups}, {name for g in groups for name in g.inside}


_KINDS = ("incoming", "bias", "scale", "shift", "activation", "outgoing")


def _check_entries(model: Any, group: UnitGroup, kind: str, entries: Entries) -> None:
    """**Raises:** `ValueError` if the entries do not exist, or cannot be divided among the units of
    the group."""
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
            f"{wanted} entries (size x repeat x tile): fix the `Entries` in its `units()`."
        )
