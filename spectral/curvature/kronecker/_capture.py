"""The inputs and output gradients of the layers of a network, example by example."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float, Int, PyTree

from ..risk._parameters import split_parameters
from ..risk._risk import ExampleBatch, Risk
from ._layers import (
    check_layer,
    gradient_rows,
    input_rows,
    is_layer,
    is_masked,
    is_norm,
    layer_name,
    weight_axes,
)
from ._stand_in import Call, marked_calls, replace_layers, Tagged, Watched


class Layer(eqx.Module):
    """A layer and the indices of its arrays in the flattened parameters.

    Normalisation layers record no calls; their scale and shift count as a single row of weights.
    """

    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)
    calls: tuple[Call, ...] = eqx.field(static=True)


class Recorded(eqx.Module):
    """The inputs and output gradients of a layer, with the positions of all its calls in one axis.

    For each example and column, the gradient in the matrix [weight, bias] is the sum over positions
    of the outer product of `gradients` and `inputs`.
    """

    inputs: Float[Array, "examples positions inputs"]
    gradients: Float[Array, "columns examples positions outputs"]


def find_layers(risk: Risk, params: PyTree) -> tuple[Layer, ...]:
    """The layers that a network calls and its normalisation layers, in their order in `params`.

    The network is traced for one example, and nothing is compiled.

    **Raises:** `ValueError` naming the layer if one is called in a loop, a branch or an inner
    `vmap`, or if other parameters influence the outputs.
    """
    dynamic, constants = split_parameters(params)
    leaves, structure = jax.tree.flatten(dynamic)
    layers, norms = {}, {}
    for name, node in _nodes(structure.unflatten(range(len(leaves)))):
        own = tuple(jax.tree.leaves(node))
        if is_norm(node) and own:
            norms[name] = own
        elif is_layer(node) and own:
            check_layer(name, node)
            # The calls of a stack of layers cannot be told apart, so it counts as bare arrays.
            if leaves[node.weight].ndim == weight_axes(node):
                layers[name] = own

    def watched(live: list[Array], called: list[Array], inputs: PyTree) -> list[Array]:
        inner = dict(_nodes(eqx.combine(structure.unflatten(called), constants)))
        stand_in = lambda name, layer: (
            Watched(layer, inner[name], name) if name in layers else layer
        )
        model = eqx.combine(structure.unflatten(live), constants)
        outputs = _outputs(risk, replace_layers(model, stand_in), inputs, jnp.asarray(0))
        return jax.tree.leaves(outputs)

    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), risk.inputs)
    traced = jax.make_jaxpr(watched)(leaves, leaves, one)
    calls: dict[str, list[Call]] = {name: [] for name in layers}
    for call, times in marked_calls(traced.jaxpr):
        if times != 1 or call in calls[call.layer]:
            raise ValueError(
                f"`params` has the layer {call.layer}, which is called in a loop, in a branch, by "
                "an inner `vmap` or again by a compiled function, but each of its calls must be "
                "separate: call it on one example at a time, outside of these, or hold it constant "
                "with `eqx.partition` and combine the network again inside `forward`."
            )
        calls[call.layer].append(call)
    allowed = {index for own in norms.values() for index in own}
    _check_influence(traced, dynamic, allowed)
    found = [Layer(name, own, tuple(calls[name])) for name, own in layers.items() if calls[name]]
    found += [Layer(name, own, ()) for name, own in norms.items()]
    return tuple(sorted(found, key=lambda layer: layer.leaves))


def capture(
    risk: Risk, params: PyTree, layers: tuple[Layer, ...], batch: ExampleBatch
) -> tuple[PyTree, Callable[[PyTree], tuple[Recorded, ...]]]:
    """Evaluates a network and records its layers.

    Returns the outputs, and a function that pulls columns like the outputs,
    `[columns, examples, ...]`, back through the network and returns the record of each layer.
    """
    dynamic, constants = split_parameters(params)
    leaves, structure = jax.tree.flatten(dynamic)
    num_examples = batch.indices.shape[0]
    zeros = lambda s: jnp.zeros((num_examples, *s.shape), s.dtype)
    # One for each example, so that the cotangents belong to single examples.
    slots = [{c.index: (zeros(c.inputs), zeros(c.outputs)) for c in a.calls} for a in layers]
    copy = lambda x: jnp.broadcast_to(x, (num_examples, *x.shape))
    copies = [{n: copy(leaves[n]) for n in a.leaves if not a.calls} for a in layers]

    def one(slots: PyTree, copies: PyTree, inputs: PyTree, index: Int[Array, ""]) -> PyTree:
        own = dict(enumerate(leaves))
        for arrays in copies:
            own |= arrays
        model = eqx.combine(structure.unflatten(own.values()), constants)
        given = {a.name: slot for a, slot in zip(layers, slots, strict=True) if a.calls}
        stand_in = lambda name, layer: Tagged(layer, given[name]) if name in given else layer
        return _outputs(risk, replace_layers(model, stand_in), inputs, index)

    mapped = lambda slots, copies: jax.vmap(one)(slots, copies, batch.inputs, batch.indices)
    outputs, pull = jax.vjp(mapped, slots, copies)
    originals = dict(_nodes(eqx.combine(dynamic, constants)))

    def recorded(columns: PyTree) -> tuple[Recorded, ...]:
        result = []
        for layer, slot, arrays in zip(layers, *jax.vmap(pull)(columns), strict=True):
            if layer.calls:
                original, calls = originals[layer.name], slot.values()
                # The inputs are the same for every column.
                inputs = [input_rows(original, x[0]) for x, _ in calls]
                gradients = [gradient_rows(original, g) for _, g in calls]
            else:
                flat = [g.reshape(*g.shape[:2], 1, -1) for g in arrays.values()]
                gradients = [jnp.concatenate(flat, axis=-1)]
                inputs = [jnp.ones((num_examples, 1, 1), gradients[0].dtype)]
            result.append(Recorded(jnp.concatenate(inputs, 1), jnp.concatenate(gradients, 2)))
        return tuple(result)

    return outputs, recorded


def _nodes(model: PyTree) -> list[tuple[str, Any]]:
    # The weights of a masked layer count as bare arrays, so its inner layer is not a node.
    whole = lambda node: is_layer(node) or is_norm(node) or is_masked(node)
    nodes = jax.tree_util.tree_leaves_with_path(model, is_leaf=whole)
    return [(layer_name(path), node) for path, node in nodes]


def _outputs(risk: Risk, model: PyTree, inputs: PyTree, index: Int[Array, ""]) -> PyTree:
    """The outputs for one example."""
    batch = ExampleBatch(
        inputs=jax.tree.map(lambda x: x[None], inputs),
        targets=None,
        indices=index[None],
        weights=jnp.ones(1),
        fractions=jnp.ones(1),
        padded=False,
    )
    return jax.tree.map(lambda x: x[0], risk.outputs(model, batch))


def _check_influence(traced: Any, dynamic: PyTree, allowed: set[int]) -> None:
    """Checks that only `allowed` parameters influence the outputs other than through calls."""
    paths = [layer_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(dynamic)]
    others = [index for index in range(len(paths)) if index not in allowed]
    if not _influences(traced, others):
        return
    names = ", ".join(paths[index] for index in others if _influences(traced, [index]))
    raise ValueError(
        "`params` has weights that act other than through calls of `Linear`, `Conv` or "
        f"`Convolution` layers: {names}. They have no Kronecker factors: hold them constant with "
        "`eqx.partition`, and combine the network again inside `forward`."
    )


def _influences(traced: Any, indices: list[int]) -> bool:
    """Whether the tangents of the outputs are more than symbolic zeros."""
    moved = False

    @jax.custom_jvp
    def look(outputs: list[Array]) -> list[Array]:
        return outputs

    def rule(primals: Any, tangents: Any) -> Any:
        nonlocal moved
        moved = any(not isinstance(t, SymbolicZero) for t in tangents[0])
        return primals[0], [jnp.zeros_like(x) for x in primals[0]]

    look.defjvp(rule, symbolic_zeros=True)

    def tangent(arguments: list[Array]) -> list[Array]:
        def outputs(some: list[Array]) -> list[Array]:
            full = dict(enumerate(arguments)) | dict(zip(indices, some, strict=True))
            return look(jaxpr_as_fun(traced)(*full.values()))

        some = [arguments[index] for index in indices]
        return jax.jvp(outputs, (some,), (some,))[1]

    jax.eval_shape(tangent, list(traced.in_avals))
    return moved
