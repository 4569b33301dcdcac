"""Which rows of a Hessian are zero because of dead units, dead layers and dead inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...models import ActorCritic, ConvNet, DescribesUnits, entries_of, MLP


Marked = Mapping[str, Bool[Array, " units"]]  # by the name of the layer's tap


def num_parameters(model: DescribesUnits) -> int:
    """P, the number of rows of the Hessian."""
    return sum(p.size for p in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def num_marked(model: DescribesUnits, marked: Marked) -> int:
    """How many parameters enter or leave the marked units, each counted once."""
    return int(_count(model, dict(marked), []))


def num_zero_rows(
    model: DescribesUnits,
    marked: Marked,
    *,
    inputs: Float[Array, "examples ..."] | None = None,
) -> int:
    """How many rows of the Hessian are zero if the marked units are dead on the inputs.

    Units before a layer of dead units have no effect, so their parameters count too. So do the
    weights of inputs, or channels of images, that are 0 in every example, if the network is known
    to read its inputs as they are.
    """
    columns = [] if inputs is None else [_dead_inputs(w(model), inputs) for w in _readers(model)]
    return int(_count(model, _without_effect(model, marked), columns))


def _without_effect(model: DescribesUnits, marked: Marked) -> dict[str, Bool[Array, " units"]]:
    """The marked units, and all units of layers that are read by layers without effect only."""
    groups = model.units()
    params = eqx.filter(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    # One integer in the place of each array says which layer reads which.
    places = jax.tree.unflatten(structure, range(len(leaves)))
    readers = {e.where(places): group.name for group in groups for e in group.incoming}
    silent = {name for name, units in marked.items() if bool(jnp.all(units))}
    for _ in groups:  # the effect of a layer may depend on every other one
        for group in groups:
            read_by = [readers.get(e.where(places)) for e in group.outgoing]
            if read_by and all(name in silent for name in read_by):
                silent.add(group.name)
    whole = {g.name: jnp.ones(g.size, bool) for g in groups if g.name in silent}
    return {**marked, **whole}


def _readers(model: DescribesUnits) -> Sequence[Callable[[Any], Array]]:
    """Where the weights that multiply the inputs of a network are, if that is known."""
    if isinstance(model, MLP):
        return [lambda m: m.layers[0].weight]
    if isinstance(model, ActorCritic):
        return [lambda m: m.actor.layers[0].weight, lambda m: m.critic.layers[0].weight]
    if isinstance(model, ConvNet):
        return [lambda m: (*m.convolutions, *m.dense)[0].weight]
    return []


def _dead_inputs(weight: Array, inputs: Float[Array, "examples ..."]) -> Bool[Array, "..."]:
    """Marks the entries of `weight` along its second axis that multiply zeros only."""
    x = np.asarray(inputs)
    x = x.reshape(len(x), weight.shape[1], -1)
    return jnp.asarray(np.all(x == 0, axis=(0, 2)).reshape(-1, *[1] * (weight.ndim - 2)))


@eqx.filter_jit
def _count(
    model: DescribesUnits,
    marked: dict[str, Bool[Array, " units"]],
    columns: list[Bool[Array, "..."]],
) -> Int[Array, ""]:
    groups = {group.name: group for group in model.units()}
    zero = lambda p: jnp.zeros(p.shape, bool)
    marks = jax.tree.map(zero, eqx.filter(model, eqx.is_inexact_array))
    for name, units in marked.items():
        marks = jax.tree.map(jnp.logical_or, marks, entries_of(model, groups[name], units))
    for where, dead in zip(_readers(model) if columns else (), columns, strict=True):
        marks = eqx.tree_at(where, marks, where(marks) | dead[None])
    return jnp.asarray(sum(jnp.sum(m) for m in jax.tree.leaves(marks)))
