"""The layers of a network in the order of the data, by the indices of their arrays."""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from ....models import activations_of, Entries, unit_groups, UnitGroup


@dataclass(frozen=True)
class Layer:
    """A dense layer, a convolution or a norm. `weight` (the scale of a norm) and `bias` (its shift)
    are indices among the arrays of the parameters."""

    weight: int
    bias: int | None
    is_norm: bool = False
    is_output: bool = False


Chain = tuple[Layer, ...]


def layers_of(model: Any) -> Chain:
    """Returns the layers of all chains.

    **Raises:** as `chains_of`.
    """
    return tuple(layer for chain in chains_of(model) for layer in chain)


def chains_of(model: Any) -> tuple[Chain, ...]:
    """Returns the layers of each part of the network whose layers read one another: most networks
    are one chain, `ActorCritic` is two.

    The layers of a residual network are one chain in the order of `units()`. Learnt activations
    belong to no layer. An output layer is a matrix that is not the weight of hidden units; its bias
    is the vector of its size that follows it.

    **Raises:** `TypeError` for a model without `units()`.
    """
    params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    places = {id(leaf): i for i, leaf in enumerate(params)}
    seen = {places[id(leaf)] for leaf in _learnt(model)}
    chains: list[list[Layer]] = []
    reads: dict[int, list[Layer]] = {}  # weight -> the chain whose activations it reads
    stream: list[Layer] | None = None  # the chain of units that many layers read

    def place(entries: Entries | None) -> int | None:
        return None if entries is None else places[id(entries.where(model))]

    def chain_of(weights: list[int]) -> list[Layer]:
        found = next((reads[i] for i in weights if i in reads), stream)
        if found is None:
            chains.append(found := [])
        return found

    for group in unit_groups(model):
        chain = chain_of([places[id(e.where(model))] for e in group.incoming])
        for weight, bias, is_norm in _kinds(group):
            i, j = place(weight), place(bias)
            if i is not None and i not in seen:
                chain.append(Layer(i, j, is_norm))
                seen |= {i, i if j is None else j}
        reads |= {places[id(e.where(model))]: chain for e in group.outgoing}
        stream = stream if group.outgoing else chain
    for i, leaf in enumerate(params):
        if leaf.ndim > 1 and i not in seen:
            bias = next((j for j in (i + 1,) if j not in seen and _is_bias(params, i, j)), None)
            chain_of([i]).append(Layer(i, bias, is_output=True))
    return tuple(tuple(chain) for chain in chains)


def _kinds(group: UnitGroup) -> list[tuple[Entries | None, Entries | None, bool]]:
    """The weights and biases of a group, then the scales and shifts of its norms. The units of a
    residual sum have several of each."""
    layers = [(w, b, False) for w, b in zip_longest(group.incoming, group.bias)]
    return layers + [(s, b, True) for s, b in zip_longest(group.scale, group.shift)]


def _learnt(model: Any) -> list[Array]:
    return jax.tree.leaves(eqx.filter(activations_of(model), eqx.is_inexact_array))


def _is_bias(params: list[Array], weight: int, index: int) -> bool:
    return index < len(params) and params[index].shape == params[weight].shape[:1]
