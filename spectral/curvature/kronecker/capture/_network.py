"""The network of a risk, one example at a time, and the nodes that are its layers."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ...risk._risk import Risk
from ...risk.examples._example_batch import ExampleBatch
from ._layers import is_layer, is_masked, is_norm, layer_name


def nodes(model: PyTree) -> list[tuple[str, Any]]:
    """The layers, normalisation layers and other leaves of a network, by their paths."""
    # The weights of a masked layer count as bare arrays, so its inner layer is not a node.
    whole = lambda node: is_layer(node) or is_norm(node) or is_masked(node)
    found = jax.tree_util.tree_leaves_with_path(model, is_leaf=whole)
    return [(layer_name(path), node) for path, node in found]


def outputs_of_one(risk: Risk, model: PyTree, inputs: PyTree, index: Int[Array, ""]) -> PyTree:
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
