"""Re-initialise single units: their weights, their statistics and their optimiser state."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..._base._optimiser import Optimiser
from ..._carry import arrays_of, on_arrays, with_arrays
from ._entries import Draw, Entries
from ._unit_group import UnitGroup


Value = TypeVar("Value")

# How many units are written at once. Most algorithms renew one or two units at a time, and drawing
# or copying whole matrices would take longer than a gradient step.
_FEW = 4


def renew_units(
    model: PyTree, group: UnitGroup, units: Bool[Array, " units"], *, key: PRNGKeyArray
) -> PyTree:
    """Draw new incoming weights for the marked units, and new parameters of their activations. Set
    their bias, shift and outgoing weights to zero and their scale to one.

    The rest of the network is unchanged, so its function loses only the contribution of the marked
    units. If a norm goes over the units of the layer, the new pre-activations also change its mean
    and deviation. The weights of a unit depend on the key and on its index, not on which other
    units are marked. `renew_statistics` resets running statistics, `forget_units` the optimiser.

    **Raises:** `ValueError` if the units of the group have no outgoing weights of their own.
    """
    _check_replaceable(group)

    def renew(model: PyTree, few: Int[Array, " few"]) -> PyTree:
        for i, entries in enumerate(group.incoming + group.activation):
            array = entries.where(model)
            draw = group.draw if entries.draw is None else entries.draw
            drawn = _drawn(draw, entries, array, few, key=jax.random.fold_in(key, i))
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
    """Reset the state that `optimiser` keeps for the marked units of `model`, after they have been
    renewed.

    This equals `Optimiser.forget` for the entries that `entries_of` marks, but its cost grows with
    the number of marked units instead of the size of the layer.
    """
    params = eqx.filter(model, eqx.is_inexact_array)
    of: dict[int, tuple[Entries, ...]] = {}  # array -> entries: two kinds may share an array
    for entries in group.entries:
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
    """Reset the running statistics of the marked units to mean 0 and variance 1.

    Running statistics are used in inference only; training uses those of the batch. The state that
    is passed in is invalidated, as by `eqx.nn.State.set`.
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
    """Add the mean contribution of the marked units to the biases of the next layer.

    Call this before the units are renewed, because it reads their outgoing weights. `means` are the
    mean activations of the layer as the next layer sees them, in the order of the taps. If a marked
    unit is constant, absorbing its mean and renewing it leaves the function of the network
    unchanged. This is exact before a dense layer (also through max-pooling and flattening) and
    before a valid convolution. A padded convolution adds zeros at the edges, which are treated like
    the constant.

    Dohare et al. (2024), Methods. Layers without a bias are not changed.
    """
    for entries in group.outgoing:
        bias = None if entries.fed_bias is None else entries.fed_bias(model)
        if bias is None or entries.fed_bias is None:
            continue
        # The positions of an activation, if an image was flattened, follow one another.
        positions = entries.repeat // group.repeat
        of_unit = jnp.repeat(units, group.repeat)[None, :]
        marked = jnp.where(of_unit, means.reshape(entries.tile, of_unit.size), 0)
        inputs = jnp.repeat(marked.reshape(-1), positions)
        weight = entries.read(model)
        # One product, because moving the units of a matrix to the front would copy it.
        outputs = jnp.tensordot(weight, inputs.astype(weight.dtype), axes=(entries.axis, 0))
        outputs = outputs.reshape(outputs.shape[0], -1).sum(axis=1)
        model = eqx.tree_at(entries.fed_bias, model, bias + outputs)
    return model


def _check_replaceable(group: UnitGroup) -> None:
    if not group.replaceable:
        raise ValueError(
            f"The units of `{group.name}` have no outgoing weights of their own, so they cannot be "
            "renewed one by one: renew units of `replaceable` groups only."
        )


def _drawn(
    draw: Draw,
    entries: Entries,
    array: Float[Array, "..."],
    few: Int[Array, " few"],
    *,
    key: PRNGKeyArray,
) -> Float[Array, "..."]:
    """Draws weights for the units with the indices `few`, in the shape of `Entries.take`."""
    axis = entries.axis
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    shape = (*before, entries.tile * entries.repeat, *after)
    one = lambda unit: draw(jax.random.fold_in(key, unit), shape)
    drawn = jax.vmap(one, out_axes=axis)(few).astype(array.dtype)
    apart = drawn.reshape(*before, few.size, entries.tile, entries.repeat, *after)
    return apart.swapaxes(axis, axis + 1)


def _few_at_a_time(
    units: Bool[Array, " units"], change: Callable[[Value, Int[Array, " few"]], Value], value: Value
) -> Value:
    """Apply `change` to the value for `_FEW` marked units at a time. It receives their indices,
    padded in the last round with an index beyond the last unit. Only arrays may change."""
    changed = on_arrays(change, value)

    def body(carried):
        left, arrays = carried
        (few,) = jnp.nonzero(left, size=_FEW, fill_value=left.size)
        return left.at[few].set(False, mode="drop"), changed(arrays, few)

    carried = (units, arrays_of(value))
    return with_arrays(value, jax.lax.while_loop(lambda c: c[0].any(), body, carried)[1])
