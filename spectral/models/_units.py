"""Where the numbers that belong to a hidden unit are, so that no algorithm parses a name."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped


class Entries(eqx.Module):
    """One array of a model, and how one of its axes is divided among the units of a group.

    Index `t * (size * repeat) + i * repeat + r` of the axis belongs to unit `i`, with
    `r < repeat` and `t < tile`. So `repeat` is the number of positions where the channels of an
    image were flattened, channels first; `tile` is the number of activations of a unit where these
    are concatenated, as by CReLU; both are 1 in most layers.

    `fed_bias`, for outgoing weights only, is the bias of the layer that they lead to, if there is
    one to which what a constant activation contributes can be added. `mask` says which entries
    exist in a sparse layer; the others stay zero.
    """

    where: Callable[[Any], Array] = eqx.field(static=True)  # as in `eqx.tree_at`
    axis: int = eqx.field(static=True)
    repeat: int = eqx.field(static=True, default=1)
    tile: int = eqx.field(static=True, default=1)
    fed_bias: Callable[[Any], Array | None] | None = eqx.field(static=True, default=None)
    mask: Callable[[Any], Array | None] | None = eqx.field(static=True, default=None)

    def read(self, model: PyTree) -> Array:
        """The array, with zeros where a sparse layer has no connection."""
        array = self.where(model)
        mask = None if self.mask is None else self.mask(model)
        return array if mask is None else jnp.where(mask, array, 0)

    def mark(self, model: PyTree, units: Bool[Array, " units"]) -> Bool[Array, "..."]:
        """Booleans of the shape of the array: the entries of the units marked in `units`."""
        array = self.where(model)
        shape = [1] * array.ndim
        shape[self.axis] = array.shape[self.axis]
        return jnp.broadcast_to(self.spread(units).reshape(shape), array.shape)

    def spread(self, values: Shaped[Array, " units"]) -> Shaped[Array, " indices"]:
        """For each index of the axis, the value of the unit that it belongs to."""
        return jnp.tile(jnp.repeat(values, self.repeat), self.tile)

    def by_unit(self, array: Shaped[Array, "..."]) -> Shaped[Array, "units entries"]:
        """An array of the shape of the model's, one row for each unit with all of its entries.

        The mean weight that leaves each unit: `jnp.abs(e.by_unit(e.read(model))).mean(1)`.
        """
        return split_units(array, self.axis, self.repeat, self.tile).reshape(
            array.shape[self.axis] // (self.repeat * self.tile), -1
        )


class UnitGroup(eqx.Module):
    """The hidden units of one layer.

    `incoming` weights, `bias`, and the `scale` and `shift` of a normalisation determine the
    activation of a unit; `outgoing` weights carry it on. `name` is the unit group's key in the
    taps, where a unit has `copies` activations: those of unit `i` are `i`, `i + size`, ...
    `draw(key, shape)` draws incoming weights as the network's own initialisation does.
    `statistics` are the `eqx.nn.BatchNorm`s that keep a running mean and variance of each unit.
    """

    name: str = eqx.field(static=True)
    size: int = eqx.field(static=True)
    incoming: tuple[Entries, ...]
    bias: tuple[Entries, ...]
    outgoing: tuple[Entries, ...]
    draw: Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "..."]] = eqx.field(static=True)
    scale: tuple[Entries, ...] = ()
    shift: tuple[Entries, ...] = ()
    statistics: tuple[Callable[[Any], eqx.nn.BatchNorm], ...] = eqx.field(static=True, default=())
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


def split_units(
    array: Shaped[Array, "..."], axis: int, repeat: int, tile: int
) -> Shaped[Array, "units tile repeat ..."]:
    """Bring the units to the front: `axis` becomes the axes unit, tile and repeat."""
    array = jnp.moveaxis(array, axis, 0)
    array = array.reshape(tile, -1, repeat, *array.shape[1:])
    return array.swapaxes(0, 1)


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


def renew_units(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"], *, key: PRNGKeyArray
) -> PyTree:
    """Give the marked units newly drawn incoming weights, zero bias, shift and outgoing weights,
    and a scale of one.

    The rest of the network is untouched, so its function changes only by what the marked units
    contributed to it. Running statistics are renewed by `renew_statistics`.

    **Raises:** `ValueError` if the units of the group have no outgoing weights of their own.
    """
    _check_replaceable(group)
    for i, entries in enumerate(group.incoming):
        old = entries.where(model)
        drawn = group.draw(jax.random.fold_in(key, i), old.shape).astype(old.dtype)
        mask = None if entries.mask is None else entries.mask(model)
        drawn = drawn if mask is None else jnp.where(mask, drawn, 0)
        new = jnp.where(entries.mark(model, units), drawn, old)
        model = eqx.tree_at(entries.where, model, new)
    for constant, kind in ((0, group.bias + group.shift + group.outgoing), (1, group.scale)):
        for entries in kind:
            new = jnp.where(entries.mark(model, units), constant, entries.where(model))
            model = eqx.tree_at(entries.where, model, new)
    return model


def renew_statistics(
    model: PyTree,
    model_state: eqx.nn.State | None,
    group: UnitGroup,
    units: Bool[Array, " units"],
) -> eqx.nn.State | None:
    """Return the running statistics of the marked units to mean 0 and variance 1.

    They apply in inference; in training the statistics of the batch do. The state that is passed in
    is used up, as by `eqx.nn.State.set`.
    """
    if model_state is None:
        return None
    for where in group.statistics:
        norm = where(model)
        if norm.batch_state_index is None or norm.batch_counter is None:
            raise ValueError(
                f'A BatchNorm of `{group.name}` has `mode="ema"`, but only running statistics of '
                '`mode="batch"` can be renewed: make it `eqx.nn.BatchNorm(..., mode="batch")`.'
            )
        mean, variance = model_state.get(norm.batch_state_index)
        # Equinox divides both by 1 - momentum^steps in inference, so that much is stored.
        steps = model_state.get(norm.batch_counter)
        one = jnp.where(steps == 0, 1, 1 - norm.momentum**steps).astype(variance.dtype)
        renewed = jnp.where(units, 0, mean), jnp.where(units, one, variance)
        model_state = model_state.set(norm.batch_state_index, renewed)
    return model_state


def absorb_mean(
    model: PyTree,
    group: UnitGroup,
    units: Bool[Array, " units"],
    means: Float[Array, " activations"],
) -> PyTree:
    """Add to the next layer's biases what the marked units contribute to it on average.

    To be called before the units are renewed: the outgoing weights are read. `means` are the mean
    activations of the layer, in the order of the taps. Where a marked unit is constant, adding its
    contribution and renewing it leaves the function as it was: exactly before a dense layer (also
    through max-pooling and flattening) or a valid convolution; at the edges of a padded convolution
    the zeros of the padding are counted as the constant.

    Dohare et al. (2024), Methods. Layers without a bias, or with a normalisation that removes
    constants, are left alone.
    """
    for entries in group.outgoing:
        bias = None if entries.fed_bias is None else entries.fed_bias(model)
        if bias is None or entries.fed_bias is None:
            continue
        weight = split_units(entries.read(model), entries.axis, entries.repeat, entries.tile)
        weight = weight.sum(axis=(2, *range(4, weight.ndim)))  # [units, tile, outputs]
        marked = jnp.where(units[None, :], means.reshape(entries.tile, group.size), 0)
        outputs = jnp.einsum("uto,tu->o", weight, marked.astype(weight.dtype))
        model = eqx.tree_at(entries.fed_bias, model, bias + outputs)
    return model


def _check_replaceable(group: UnitGroup) -> None:
    if not group.replaceable:
        raise ValueError(
            f"The units of `{group.name}` have no outgoing weights of their own, so they cannot be "
            "renewed one by one: leave out groups that are not `replaceable`."
        )
