"""Single units begin anew: their weights, their statistics and what an optimiser knows of them."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..._carry import arrays_of, on_arrays, with_arrays
from ..._types import Optimiser
from ._entries import Entries
from ._unit_group import UnitGroup


Value = TypeVar("Value")

# Units that are written at once. One or two are renewed at a time by most algorithms, and to draw
# or copy the matrices that they are rows of takes longer than a gradient step.
_FEW = 4


def renew_units(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"], *, key: PRNGKeyArray
) -> PyTree:
    """Give the marked units newly drawn incoming weights, zero bias, shift and outgoing weights,
    and a scale of one.

    The rest of the network is untouched, so its function changes only by what the marked units
    contributed to it; and, where a norm goes over the units of the layer, by what the new
    pre-activations change in its mean and deviation. The weights of a unit depend on the key and on
    its number, not on which others are marked. Running statistics are renewed by
    `renew_statistics`, the optimiser by `forget_units`.

    **Raises:** `ValueError` if the units of the group have no outgoing weights of their own.
    """
    _check_replaceable(group)

    def renew(model: PyTree, few: Int[Array, " few"]) -> PyTree:
        for i, entries in enumerate(group.incoming):
            array = entries.where(model)
            drawn = _drawn(group, entries, array, few, key=jax.random.fold_in(key, i))
            if entries.mask is not None:
                drawn = jnp.where(entries.take(entries.mask(model), few), drawn, 0)
            model = eqx.tree_at(entries.where, model, entries.put(array, few, drawn))
        for constant, kind in ((0, group.bias + group.shift + group.outgoing), (1, group.scale)):
            for entries in kind:
                array = entries.where(model)
                value = jnp.asarray(constant, array.dtype)
                model = eqx.tree_at(entries.where, model, entries.put(array, few, value))
        return model

    return _few_at_a_time(units, renew, model)


def forget_units(
    optimiser: Optimiser, model: PyTree, group: UnitGroup, units: Bool[Array, " units"]
) -> Optimiser:
    """Let `optimiser` forget the marked units of `model`, in which they have been renewed:
    `Optimiser.forget` for the entries that `entries_of` names, at a cost that grows with the marked
    units and not with the layer."""
    params = eqx.filter(model, eqx.is_inexact_array)
    of: dict[int, tuple[Entries, ...]] = {}  # by array: two kinds of entries may share one
    for entries in group.incoming + group.bias + group.scale + group.shift + group.outgoing:
        place = id(entries.where(params))
        of[place] = (*of.get(place, ()), entries)
    kinds = jax.tree.map(lambda p: of.get(id(p), ()), params)

    def forget(optimiser: Optimiser, few: Int[Array, " few"]) -> Optimiser:
        def put(now: Array, first: Array, kinds: tuple[Entries, ...]) -> Array:
            for entries in kinds:
                now = entries.put(now, few, entries.take(first, few))
            return now

        return optimiser.rewrite(put, params, kinds)

    return _few_at_a_time(units, forget, optimiser)


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
        model_state = where(model).renew(model_state, units)
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

    Dohare et al. (2024), Methods. Layers without a bias are left alone.
    """
    for entries in group.outgoing:
        bias = None if entries.fed_bias is None else entries.fed_bias(model)
        if bias is None or entries.fed_bias is None:
            continue
        marked = jnp.where(units[None, :], means.reshape(entries.tile, group.size), 0)
        inputs = jnp.repeat(marked.reshape(-1), entries.repeat)
        weight = entries.read(model)
        # One product: to bring the units of a matrix to the front would copy it.
        outputs = jnp.tensordot(weight, inputs.astype(weight.dtype), axes=(entries.axis, 0))
        outputs = outputs.reshape(outputs.shape[0], -1).sum(axis=1)
        model = eqx.tree_at(entries.fed_bias, model, bias + outputs)
    return model


def _check_replaceable(group: UnitGroup) -> None:
    if not group.replaceable:
        raise ValueError(
            f"The units of `{group.name}` have no outgoing weights of their own, so they cannot be "
            "renewed one by one: leave out groups that are not `replaceable`."
        )


def _drawn(
    group: UnitGroup,
    entries: Entries,
    array: Float[Array, "..."],
    few: Int[Array, " few"],
    *,
    key: PRNGKeyArray,
) -> Float[Array, "..."]:
    """New weights for the units of the given numbers, in the shape of `Entries.take`."""
    axis = entries.axis
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    shape = (*before, entries.tile * entries.repeat, *after)
    one = lambda unit: group.draw(jax.random.fold_in(key, unit), shape)
    drawn = jax.vmap(one, out_axes=axis)(few).astype(array.dtype)
    apart = drawn.reshape(*before, few.size, entries.tile, entries.repeat, *after)
    return apart.swapaxes(axis, axis + 1)


def _few_at_a_time(
    units: Bool[Array, " units"], change: Callable[[Value, Int[Array, " few"]], Value], value: Value
) -> Value:
    """`change` the value for the numbers of the marked units, `_FEW` at a time; in the last round
    numbers that no unit has fill the places. Only arrays may change."""
    changed = on_arrays(change, value)

    def body(carried):
        left, arrays = carried
        (few,) = jnp.nonzero(left, size=_FEW, fill_value=left.size)
        return left.at[few].set(False, mode="drop"), changed(arrays, few)

    carried = (units, arrays_of(value))
    return with_arrays(value, jax.lax.while_loop(lambda c: c[0].any(), body, carried)[1])
