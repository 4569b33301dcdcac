"""The units of a layer, and where the parameters of each of them are.

With this description no algorithm has to parse a name or a shape.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from ..._arguments import as_int
from ..layers._batch_norm import BatchNorm
from ._entries import Draw, Entries, split_units


class UnitGroup(eqx.Module):
    """The hidden units of one layer.

    - `name`: the key of the layer in the taps.
    - `size`: the number of units.
    - `incoming`, `bias`: weights and biases that determine the activations of a unit.
    - `outgoing`: the weights by which the next layer reads these activations.
    - `draw`: `draw(key, shape)` draws incoming weights as the network initialises them, for one or
      more units; `shape` is the shape of an incoming array with that number of units.
    - `scale`, `shift`: the parameters of a normalisation before the activation.
    - `activation`: the parameters of the activation that each unit has for itself. Each of these
      `Entries` has a `draw`.
    - `statistics`: where the `BatchNorm`s with a running mean and variance of each unit are.
    - `shared`: where further parameters of the layer are, which all of its units share, such as the
      scale of normalised queries. They are not renewed.
    - `copies`, `repeat`: in the taps unit `i` has the indices `(c * size + i) * repeat + r` with
      `c < copies` and `r < repeat`. A unit of CReLU has two copies; an attention head has the
      activations of all its channels, one after the other.
    - `seen`: maps the activations in the taps of a batch to what the next layer sees of them, for
      example their maxima after pooling. By default it sees them as they are.
    - `tokens`: whether the positions of the activations are tokens. Each token is then one vector
      of features, as an example is in a dense layer; the positions of a convolution are not.
    - `inside`: the names of further taps, of activations inside these units, such as the queries,
      keys and values of attention heads. They are not counted as units.
    - `never_dead`: why an activation of 0 does not mean that a unit is dead, as a clause; empty if
      it does. Such units are not counted as dead.
    """

    name: str = eqx.field(static=True)
    size: int = eqx.field(static=True, converter=as_int)
    incoming: tuple[Entries, ...]
    bias: tuple[Entries, ...]
    outgoing: tuple[Entries, ...]
    draw: Draw = eqx.field(static=True)
    _: KW_ONLY
    scale: tuple[Entries, ...] = ()
    shift: tuple[Entries, ...] = ()
    activation: tuple[Entries, ...] = ()
    statistics: tuple[Callable[[Any], BatchNorm], ...] = eqx.field(static=True, default=())
    shared: tuple[Callable[[Any], Array], ...] = eqx.field(static=True, default=())
    copies: int = eqx.field(static=True, default=1, converter=as_int)
    repeat: int = eqx.field(static=True, default=1, converter=as_int)
    seen: Callable[[Float[Array, "..."]], Float[Array, "..."]] | None = eqx.field(
        static=True, default=None
    )
    tokens: bool = eqx.field(static=True, default=False)
    inside: tuple[str, ...] = eqx.field(static=True, default=())
    never_dead: str = eqx.field(static=True, default="")

    @property
    def per_unit(self) -> int:
        """The number of activations of a unit."""
        return self.copies * self.repeat

    @property
    def num_activations(self) -> int:
        """The number of activations of all units, which is the length of the tap."""
        return self.size * self.per_unit

    @property
    def replaceable(self) -> bool:
        """Whether single units can be renewed, which requires that they have outgoing weights of
        their own. The channels of a residual stream do not, because every later block adds to
        them."""
        return bool(self.outgoing)

    @property
    def own_entries(self) -> tuple[Entries, ...]:
        """Where all parameters are that determine the activations of the units."""
        return self.incoming + self.bias + self.scale + self.shift + self.activation

    @property
    def entries(self) -> tuple[Entries, ...]:
        """Where all parameters of the units are: their own, and their outgoing weights."""
        return self.own_entries + self.outgoing

    def by_unit(
        self, activations: Shaped[Array, "examples activations *positions"]
    ) -> Shaped[Array, "examples units per_unit *positions"]:
        """Split the activations in the taps of a batch into units and the activations of each.

        `dead(group.by_unit(taps[group.name]))` marks a unit if all of its activations are dead.

        **Raises:** `ValueError` if the number of activations is not `num_activations`.
        """
        if activations.shape[1] != self.num_activations:
            raise ValueError(
                f"`units()` of the model describes a layer {self.name!r} of "
                f"{self.num_activations} activations, but its tap has shape "
                f"{activations.shape}: give the layer the same size in both."
            )
        apart = split_units(activations, 1, self.repeat, self.copies)
        return jnp.moveaxis(apart.reshape(self.size, self.per_unit, *apart.shape[3:]), 2, 0)

    def as_in_taps(self, values: Shaped[Array, "units per_unit"]) -> Shaped[Array, " activations"]:
        """Returns a value for each activation in the order of the taps, from the values by unit."""
        return values.reshape(self.size, self.copies, self.repeat).swapaxes(0, 1).reshape(-1)

    def seen_by_unit(
        self, activations: Float[Array, "examples activations *positions"]
    ) -> Float[Array, "examples units per_unit *seen"]:
        """Split what the next layer sees of the activations in the taps of a batch into units and
        the activations of each, for example their maxima after pooling.

        **Raises:** `ValueError` as `by_unit`.
        """
        return self.by_unit(activations if self.seen is None else self.seen(activations))


def entries_of(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"]
) -> PyTree[Bool[Array, "..."]]:
    """Marks every parameter of the marked units: incoming and outgoing weights, bias, scale, shift
    and those of the activation.

    Returns Booleans with the shapes and the structure of the parameters, as
    `spectral.Optimiser.forget` takes them.
    """
    params = eqx.filter(model, eqx.is_inexact_array)
    marks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    for entries in group.entries:
        # Two kinds of entries may share an array, as in a layer that feeds itself.
        marked = entries.where(marks) | entries.mark(model, units)
        marks = eqx.tree_at(entries.where, marks, marked)
    return marks
