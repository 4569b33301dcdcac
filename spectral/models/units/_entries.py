"""The entries of an array that belong to each unit of a layer."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from ..._arguments import as_int


Draw = Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "..."]]


class Entries(eqx.Module):
    """One array of a model, and how one of its axes is divided among the units of a group.

    Index `t * (size * repeat) + i * repeat + r` of the axis belongs to unit `i`, with
    `r < repeat` and `t < tile`. `repeat` is the number of positions if the channels of an image
    were flattened, channels first, and the number of rows of an attention head. `tile` is the
    number of activations of a unit if these are concatenated, as by CReLU. Both are 1 in most
    layers.

    `fed_bias`, for outgoing weights only, is the bias of the next layer: the contribution of a
    constant activation can be added to it. It is `None` if the next layer has no bias. `mask` marks
    the entries that exist in a sparse layer; the others stay zero. `draw`, for parameters of an
    activation and for weights that the group's own `draw` does not fit, is as `UnitGroup.draw` and
    draws their initial values.
    """

    where: Callable[[Any], Array] = eqx.field(static=True)  # as in `eqx.tree_at`
    axis: int = eqx.field(static=True, converter=as_int)
    _: KW_ONLY
    repeat: int = eqx.field(static=True, default=1, converter=as_int)
    tile: int = eqx.field(static=True, default=1, converter=as_int)
    fed_bias: Callable[[Any], Array | None] | None = eqx.field(static=True, default=None)
    mask: Callable[[Any], Array] | None = eqx.field(static=True, default=None)
    draw: Draw | None = eqx.field(static=True, default=None)

    def read(self, model: PyTree) -> Array:
        """Returns the array, with zeros outside the mask of a sparse layer."""
        array = self.where(model)
        return array if self.mask is None else jnp.where(self.mask(model), array, 0)

    def mark(self, model: PyTree, units: Bool[Array, " units"]) -> Bool[Array, "..."]:
        """Returns Booleans of the shape of the array that mark the entries of the marked units."""
        array = self.where(model)
        shape = [1] * array.ndim
        shape[self.axis] = array.shape[self.axis]
        return jnp.broadcast_to(self.spread(units).reshape(shape), array.shape)

    def spread(self, values: Shaped[Array, " units"]) -> Shaped[Array, " indices"]:
        """Returns, for each index of the axis, the value of the unit that it belongs to."""
        return jnp.tile(jnp.repeat(values, self.repeat), self.tile)

    def by_unit(self, array: Shaped[Array, "..."]) -> Shaped[Array, "units entries"]:
        """Rearrange an array of the shape of the model's array into one row per unit, which holds
        all entries of the unit.

        For example, `jnp.abs(e.by_unit(e.read(model))).mean(1)` is the mean |weight| of each unit.
        """
        return split_units(array, self.axis, self.repeat, self.tile).reshape(
            array.shape[self.axis] // (self.repeat * self.tile), -1
        )

    def take(self, array: Shaped[Array, "..."], few: Int[Array, " few"]) -> Shaped[Array, "..."]:
        """Returns the entries of the units with the indices `few`, from an array of the shape of
        the model's array. The axis of units becomes the axes `[tile, few, repeat]`."""
        return self._apart(array).at[self._at(few)].get(mode="clip")

    def put(
        self, array: Shaped[Array, "..."], few: Int[Array, " few"], values: Shaped[Array, "..."]
    ) -> Shaped[Array, "..."]:
        """Returns the array with `values`, in the shape of `take`, for the entries of the units
        with the indices `few`. Indices beyond the last unit are ignored."""
        apart = self._apart(array).at[self._at(few)].set(values, mode="drop")
        return apart.reshape(array.shape)

    def _apart(self, array: Array) -> Array:
        before, after = array.shape[: self.axis], array.shape[self.axis + 1 :]
        return array.reshape(*before, self.tile, -1, self.repeat, *after)

    def _at(self, few: Int[Array, " few"]) -> tuple[Any, ...]:
        return (*[slice(None)] * (self.axis + 1), few)


def split_units(
    array: Shaped[Array, "..."], axis: int, repeat: int, tile: int
) -> Shaped[Array, "units tile repeat ..."]:
    """Split `axis` into the axes unit, tile and repeat, and move them to the front."""
    array = jnp.moveaxis(array, axis, 0)
    array = array.reshape(tile, -1, repeat, *array.shape[1:])
    return array.swapaxes(0, 1)
