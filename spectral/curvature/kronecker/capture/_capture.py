"""What the layers of a network see, example by example."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ...risk._parameters import split_parameters
from ...risk._risk import Risk
from ...risk.examples._example_batch import ExampleBatch
from ._call import Call, Use
from ._layer import Layer
from ._layers import gradient_rows, input_rows
from ._network import nodes, outputs_of_one
from ._records import AbstractRecord, LookedUp, Recorded
from ._stand_in import replace_layers, Tagged


Records = tuple[AbstractRecord, ...]  # one for each kind of use


def capture(
    risk: Risk, params: PyTree, layers: tuple[Layer, ...], batch: ExampleBatch
) -> tuple[PyTree, Callable[[PyTree], tuple[Records, ...]]]:
    """Evaluates a network and records its layers.

    Returns the outputs, and a function that pulls columns like the outputs,
    `[columns, examples, ...]`, back through the network and returns the records of each layer.
    """
    dynamic, constants = split_parameters(params)
    leaves, structure = jax.tree.flatten(dynamic)
    num_examples = batch.indices.shape[0]
    zeros = lambda s: jnp.zeros((num_examples, *s.shape), s.dtype)
    # One for each example, so that the cotangents belong to single examples.
    slots = [{c.index: tuple(map(zeros, c.slots)) for c in a.calls} for a in layers]
    copy = lambda x: jnp.broadcast_to(x, (num_examples, *x.shape))
    copies = [{n: copy(leaves[n]) for n in a.leaves if not a.calls} for a in layers]

    def one(slots: PyTree, copies: PyTree, inputs: PyTree, index: Int[Array, ""]) -> PyTree:
        own = dict(enumerate(leaves))
        for arrays in copies:
            own |= arrays
        model = eqx.combine(structure.unflatten(own.values()), constants)
        given = {a.name: slot for a, slot in zip(layers, slots, strict=True) if a.calls}
        stand_in = lambda name, layer: Tagged(layer, given[name]) if name in given else layer
        return outputs_of_one(risk, replace_layers(model, stand_in), inputs, index)

    mapped = lambda slots, copies: jax.vmap(one)(slots, copies, batch.inputs, batch.indices)
    outputs, pull = jax.vjp(mapped, slots, copies)
    originals = dict(nodes(eqx.combine(dynamic, constants)))

    def recorded(columns: PyTree) -> tuple[Records, ...]:
        result = []
        for layer, slot, arrays in zip(layers, *jax.vmap(pull)(columns), strict=True):
            if layer.calls:
                result.append(_records(originals[layer.name], layer.calls, slot))
                continue
            flat = [g.reshape(*g.shape[:2], 1, -1) for g in arrays.values()]
            gradients = jnp.concatenate(flat, axis=-1)
            result.append((Recorded(jnp.ones((num_examples, 1, 1), gradients.dtype), gradients),))
        return tuple(result)

    return outputs, recorded


def _records(layer: Any, calls: tuple[Call, ...], slot: dict[int, tuple[Array, Array]]) -> Records:
    """The positions of all calls of one kind in one record."""
    kinds: dict[Use, list[tuple[Array, Array]]] = {}
    for call in calls:
        x, gradients = slot[call.index]
        # The inputs are the same for every column.
        gradients = gradient_rows(layer, call, gradients)
        if call.use is Use.LOOKUP:
            rows = x[0].reshape(gradients.shape[1], -1).astype(int)
        else:
            rows = input_rows(layer, call, x[0])
        kinds.setdefault(call.use, []).append((rows, gradients))
    result = []
    for use, pairs in kinds.items():
        inputs, gradients = (
            jnp.concatenate(parts, axis)
            for parts, axis in zip(zip(*pairs, strict=True), (1, 2), strict=True)
        )
        if use is Use.LOOKUP:
            result.append(LookedUp(inputs, gradients, layer.weight.shape[0]))
        else:
            result.append(Recorded(inputs, gradients, use is Use.TRANSPOSED))
    return tuple(result)
