"""The units of a layer: where the numbers that belong to each of them are.

So no algorithm parses a name or a shape.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from ..layers._batch_norm import BatchNorm
from ._entries import Entries, split_units


class UnitGroup(eqx.Module):
    """The hidden units of one layer.

    `incoming` weights, `bias`, and the `scale` and `shift` of a normalisation determine the
    activation of a unit; `outgoing` weights carry it on. `name` is the unit group's key in the
    taps, where a unit has `copies` activations: those of unit `i` are `i`, `i + size`, ...
    `draw(key, shape)` draws incoming weights as the network's own initialisation does, for one unit
    or more: `shape` is that of an incoming array but for the number of units.
    `statistics` are the `BatchNorm`s that keep a running mean and variance of each unit.
    """

    name: str = eqx.field(static=True)
    size: int = eqx.field(static=True)
    incoming: tuple[Entries, ...]
    bias: tuple[Entries, ...]
    outgoing: tuple[Entries, ...]
    draw: Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "..."]] = eqx.field(static=True)
    _: KW_ONLY
    scale: tuple[Entries, ...] = ()
    shift: tuple[Entries, ...] = ()
    statistics: tuple[Callable[[Any], BatchNorm], ...] = eqx.field(static=True, default=())
    copies: int = eqx.field(static=True, default=1)

    @property
    def replaceable(self) -> bool:
        """Whether single units can be renewed: only those with outgoing weights of their own. The
        channels of a residual stream have none, for every later block adds to them."""
        return bool(self.outgoing)

    def by_unit(
        self, activations: Shaped[Array, "examples activations *positions"]
    ) -> Shaped[Array, "examples units copies *positions"]:
        """The layer's activations in the taps of a batch, with an axis for those of one unit.

        `dead(group.by_unit(taps[group.name]))` counts units where several activations come from
        each.
        """
        return jnp.moveaxis(split_units(activations, 1, 1, self.copies)[:, :, 0], 2, 0)


def entries_of(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"]
) -> PyTree[Bool[Array, "..."]]:
    """Mark every parameter that belongs to the marked units: incoming, bias, scale, shift and
    outgoing.

    Returns Booleans of the shapes of the parameters, in the structure of the parameters, as
    `spectral.Optimiser.forget` takes them.
    """
    params = eqx.filter(model, eqx.is_inexact_array)
    marks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    for entries in group.incoming + group.bias + group.scale + group.shift + group.outgoing:
        # Two kinds of entries may share an array, as in a layer that feeds itself.
        marked = entries.where(marks) | entries.mark(model, units)
        marks = eqx.tree_at(entries.where, marks, marked)
    return marks
