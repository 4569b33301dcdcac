"""The unit groups of a model, and how units are renewed in model, statistics and optimiser."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._types import Learner
from ...models import (
    connected,
    Entries,
    forget_units,
    renew_statistics,
    renew_units,
    unit_groups,
    UnitGroup,
)
from ._named import as_names, matching, Names


Where = Callable[[Any], Any]


def replaceable_groups(model: Any, layers: Names | None = None) -> tuple[UnitGroup, ...]:
    """The groups whose units have their own outgoing weights, so each unit can be renewed alone.

    `layers` are the names of those to take, see `matching`; by default all.

    **Raises:** as `unit_groups`, and `ValueError` if there is no such group, or none of a name.
    """
    groups = tuple(group for group in unit_groups(model) if group.replaceable)
    if not groups:
        raise ValueError(
            f"No hidden units of this {type(model).__name__} can be renewed, because none has its "
            "own outgoing weights: list them in the `outgoing` entries of `units()`, or choose an "
            "algorithm that does not renew units."
        )
    if layers is None:
        return groups
    names = matching("layers", as_names("layers", layers), (group.name for group in groups))
    return tuple(group for group in groups if group.name in names)


def all_new(group: UnitGroup, reset: PyTree[bool]) -> bool:
    """Whether all parameters that determine the activations of a group have been reset. `reset` has
    the structure of the parameters, as `AbstractTransform.resets` gives it."""
    return all(entries.where(reset) for entries in group.own_entries)


def tapped(
    group: UnitGroup, taps: dict[str, Array]
) -> Float[Array, "examples units copies *positions"]:
    """The activations of a group, with an axis over the activations of each unit.

    **Raises:** `ValueError` if the taps lack the layer or have it in another size.
    """
    return group.by_unit(_tap_of(group, taps))


def seen_by_next(
    group: UnitGroup, taps: dict[str, Array]
) -> Float[Array, "examples units copies *positions"]:
    """What the next layer sees of the activations of a group, as `tapped`.

    **Raises:** `ValueError` as `tapped`.
    """
    return group.seen_by_unit(_tap_of(group, taps))


def _tap_of(group: UnitGroup, taps: dict[str, Array]) -> Float[Array, "examples ..."]:
    tap, wanted = taps.get(group.name), group.num_activations
    if tap is None or tap.shape[1] != wanted:
        shapes = {name: tap.shape[1:] for name, tap in taps.items()}
        raise ValueError(
            f"`units()` of the model describes a layer {group.name!r} of {wanted} activations, but "
            f"its taps are {shapes}: give the layer the same name and size in both."
        )
    return tap


def renewed(
    learner: Learner,
    chosen: Sequence[tuple[UnitGroup, Bool[Array, " _"]]],
    *,
    key: PRNGKeyArray,
) -> Learner:
    """Renews the marked units of each group: new incoming weights, outgoing weights of zero, and
    initial running statistics. The optimiser forgets them."""
    model, model_state, optimiser = learner.model, learner.model_state, learner.optimiser
    for i, (group, units) in enumerate(chosen):
        model = renew_units(model, group, units, key=jax.random.fold_in(key, i))
        model_state = renew_statistics(model, model_state, group, units)
        optimiser = forget_units(optimiser, model, group, units)
    return Learner(model, model_state, optimiser)


def magnitude(kind: tuple[Entries, ...], tree: PyTree) -> Float[Array, " units"]:
    """The mean of |x| over the entries of each unit. `tree` has the structure of the model."""
    totals, counts = [], []
    for entries in kind:
        # Sum before dividing by unit: moving the axis of units to the front would copy the matrix,
        # which takes eight times as long as the sums.
        array = entries.where(tree)
        others = tuple(a for a in range(array.ndim) if a != entries.axis)
        along = dataclasses.replace(entries, axis=0)
        totals.append(jnp.sum(along.by_unit(jnp.sum(jnp.abs(array), axis=others)), axis=1))
        counts.append(array.size // totals[-1].size)
    return jnp.stack(totals).sum(axis=0) / sum(counts)


def incoming_and_outgoing(
    groups: Sequence[UnitGroup], model: PyTree
) -> list[tuple[Float[Array, " _"], Float[Array, " _"]]]:
    """For each group, the mean |incoming weight| and the mean |outgoing weight| of each unit."""
    params = eqx.filter(connected(model), eqx.is_inexact_array)
    params = jax.lax.optimization_barrier(params)
    outgoing = [magnitude(group.outgoing, params) for group in groups]
    # Most matrices enter one layer and leave another. Without the barriers XLA fuses the sums of a
    # matrix over rows and over columns into one loop, which is three times slower than two loops.
    params, outgoing = jax.lax.optimization_barrier((params, outgoing))
    incoming = [magnitude(group.incoming, params) for group in groups]
    return list(zip(incoming, outgoing, strict=True))


def outgoing_by_position(
    group: UnitGroup, model: PyTree, positions: int
) -> Float[Array, "units positions"] | None:
    """For each unit, the sum of |outgoing weight| at each position that the next layer sees of it,
    divided by the number of all its outgoing weights.

    `None` if no layer weights the positions of a unit differently, as a dense layer does after a
    convolution is flattened.
    """
    model = eqx.filter(connected(model), eqx.is_inexact_array)
    # The positions of an activation follow one another.
    repeats = {entries.repeat // group.repeat for entries in group.outgoing} - {1}
    if repeats != {positions}:
        return None
    total, count = jnp.zeros((group.size, positions)), 0
    for entries in group.outgoing:
        array = entries.where(model)
        others = tuple(a for a in range(array.ndim) if a != entries.axis)
        along = dataclasses.replace(entries, axis=0)
        sums = along.by_unit(jnp.sum(jnp.abs(array), axis=others))
        own = entries.repeat // group.repeat
        sums = sums.reshape(group.size, entries.tile * group.repeat, own).sum(axis=1)
        total += sums if own == positions else sums / positions
        count += array.size // group.size
    return total / count


def sparse_layers(model: Any) -> list[tuple[UnitGroup, Where, Where]]:
    """The hidden layers with a mask; for each the functions that find its weights and its mask.

    **Raises:** as `unit_groups`.
    """
    return [
        (group, entries.where, entries.mask)
        for group in unit_groups(model)
        for entries in group.incoming
        if entries.mask is not None
    ]
