"""The layers of a network, found by tracing it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ...risk._parameters import split_parameters
from ...risk._risk import Risk
from ._call import Call, marked_calls
from ._influence import check_influence, influences
from ._layer import Layer
from ._layers import check_layer, is_embedding, is_layer, is_masked, is_norm, weight_axes
from ._network import nodes, outputs_of_one
from ._stand_in import replace_layers, Watched


_LARGEST = 1024  # numbers of an array without a layer whose exact block is dense


def find_layers(risk: Risk, params: PyTree) -> tuple[Layer, ...]:
    """The layers that a network calls, its normalisation layers, and arrays that belong to no
    layer, in their order in `params`.

    The network is traced for one example, and nothing is compiled.

    **Raises:** `ValueError` naming the layer if one is called in a loop or a branch, or if the
    weights of one influence the outputs other than through its calls.
    """
    dynamic, constants = split_parameters(params)
    leaves, structure = jax.tree.flatten(dynamic)
    indices = structure.unflatten(range(len(leaves)))
    kinds = _sorted(indices, dict(nodes(eqx.combine(dynamic, constants))), leaves)

    def watched(live: list[Array], called: list[Array], inputs: PyTree) -> list[Array]:
        inner = dict(nodes(eqx.combine(structure.unflatten(called), constants)))
        stand_in = lambda name, layer: (
            Watched(layer, inner[name], name) if name in kinds.layers else layer
        )
        model = eqx.combine(structure.unflatten(live), constants)
        outputs = outputs_of_one(risk, replace_layers(model, stand_in), inputs, jnp.asarray(0))
        return jax.tree.leaves(outputs)

    inputs = risk.examples.example[0]
    one = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), inputs)
    traced = jax.make_jaxpr(watched)(leaves, leaves, one)
    calls: dict[str, dict[int, Call]] = {name: {} for name in kinds.layers}
    for call, times in marked_calls(traced.jaxpr):
        if times != 1 or call.index in calls[call.layer]:
            raise ValueError(
                f"`params` has the layer {call.layer}, which is called in a loop, in a branch or "
                "again by a compiled function, but each of its calls must be separate: use "
                "`jax.vmap` instead of the loop, call it outside of these, or hold it constant "
                "with `eqx.partition` and combine the network again inside `forward`."
            )
        calls[call.layer][call.index] = call
    used = {name: own for name, own in calls.items() if own}
    allowed = {index for own in kinds.norms.values() for index in own}
    if used:  # otherwise the network has no layers, and its arrays are not exceptions
        allowed |= {index for own in kinds.others.values() for index in own}
    check_influence(traced, dynamic, allowed)
    found = [Layer(n, kinds.layers[n], tuple(own.values())) for n, own in used.items()]
    found += [Layer(name, own, ()) for name, own in kinds.norms.items()]
    for name, own in kinds.others.items():
        if influences(traced, list(own)):
            found.append(Layer(name, own, (), dense=leaves[own[0]].size <= _LARGEST))
    return tuple(sorted(found, key=lambda layer: layer.leaves))


@dataclasses.dataclass
class _Sorted:
    """The indices of the arrays of each node, by the kind of node and its path."""

    layers: dict[str, tuple[int, ...]]
    norms: dict[str, tuple[int, ...]]
    others: dict[str, tuple[int, ...]]  # arrays that belong to no known layer


def _sorted(indices: PyTree, originals: dict[str, Any], leaves: list[Array]) -> _Sorted:
    result = _Sorted({}, {}, {})
    for name, node in nodes(indices):
        own = tuple(jax.tree.leaves(node))
        if not own or is_masked(node):
            continue
        if is_norm(node):
            result.norms[name] = own
        elif not is_layer(node):
            result.others[name] = own
        elif node.weight is None and _is_tied(originals[name]):
            result.others[f"{name}.bias"] = own
        else:
            check_layer(name, node)
            # The calls of a stack of layers cannot be told apart, so it is not a layer.
            if leaves[own[0]].ndim == weight_axes(node):
                result.layers[name] = own
    return result


def _is_tied(layer: Any) -> bool:
    """Whether the weight of a layer is that of another one, put in its place by `eqx.nn.Shared`."""
    return not (is_embedding(layer) or layer.weight is None or eqx.is_array(layer.weight))
