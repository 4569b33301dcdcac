"""Where the numbers that belong to a hidden unit are, so that no algorithm parses a name."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree


class Entries(eqx.Module):
    """One array of a model, and the axis along which it is divided among the units of a group."""

    where: Callable[[Any], Array] = eqx.field(static=True)  # as in `eqx.tree_at`
    axis: int = eqx.field(static=True)

    def mark(self, model: PyTree, units: Bool[Array, " units"]) -> Bool[Array, "..."]:
        """Booleans of the shape of the array: the entries of the units marked in `units`."""
        array = self.where(model)
        shape = [1] * array.ndim
        shape[self.axis] = units.size
        return jnp.broadcast_to(units.reshape(shape), array.shape)


class UnitGroup(eqx.Module):
    """The hidden units of one layer.

    `incoming` weights and `bias` determine the activation of a unit, `outgoing` weights carry it
    on. `name` is the unit group's key in the taps. `draw(key, shape)` draws incoming weights as the
    network's own initialisation does.
    """

    name: str = eqx.field(static=True)
    size: int = eqx.field(static=True)
    incoming: tuple[Entries, ...]
    bias: tuple[Entries, ...]
    outgoing: tuple[Entries, ...]
    draw: Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "..."]] = eqx.field(static=True)


def entries_of(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"]
) -> PyTree[Bool[Array, "..."]]:
    """Mark every parameter that belongs to the marked units: incoming, bias and outgoing.

    Returns Booleans of the shapes of the parameters, in the structure of the parameters, as
    `spectral.Optimiser.forget` takes them.
    """
    params = eqx.filter(model, eqx.is_inexact_array)
    marks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    for entries in group.incoming + group.bias + group.outgoing:
        marks = eqx.tree_at(entries.where, marks, entries.mark(model, units))
    return marks


def renew_units(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"], *, key: PRNGKeyArray
) -> PyTree:
    """Give the marked units newly drawn incoming weights, and zero bias and outgoing weights.

    The rest of the network is untouched, so its function changes only by what the marked units
    contributed to it.
    """
    for i, entries in enumerate(group.incoming):
        old = entries.where(model)
        drawn = group.draw(jax.random.fold_in(key, i), old.shape).astype(old.dtype)
        new = jnp.where(entries.mark(model, units), drawn, old)
        model = eqx.tree_at(entries.where, model, new)
    for entries in group.bias + group.outgoing:
        new = jnp.where(entries.mark(model, units), 0, entries.where(model))
        model = eqx.tree_at(entries.where, model, new)
    return model
