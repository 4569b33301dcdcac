"""Pre-activations, and the margins by which those of dead units stay below zero."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .._apply import apply_network
from ..layers.activations._activation import AbstractActivation, Elementwise
from ._described import DescribesUnits, unit_groups


def activations_of(model: PyTree) -> list[AbstractActivation]:
    """Returns the activations that a network has as fields, in the order of its fields."""
    return [node for node in jax.tree.leaves(model, is_leaf=_is_activation) if _is_activation(node)]


def pre_activations(
    model: DescribesUnits,
    inputs: PyTree[Float[Array, "examples ..."]],
    *,
    model_state: eqx.nn.State | None = None,
) -> dict[str, Float[Array, "examples units *positions"]]:
    """Returns the inputs of the activation of each hidden layer, under the names of the taps.

    They are computed after the normalisation, if there is one, which uses the running statistics in
    `model_state`. This takes one forward pass per layer.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.models import MLP, pre_activations

    model = MLP(3, 2, width=4, depth=2, key=jax.random.key(0))
    pre_activations(model, jnp.ones((5, 3)))  # {"hidden_0": [5, 4], "hidden_1": [5, 4]}
    ```

    **Raises:** `ValueError` if the network does not hold one `Elementwise` activation (such as
    `"relu"`) for each of its groups of units, or if it has running statistics and `model_state` is
    `None`.
    """
    taps_of = lambda bare: apply_network(bare, model_state, inputs, inference=True)[1].taps
    return pre_activations_from(model, taps_of)


def pre_activations_from(
    model: DescribesUnits, taps_of: Callable[[Any], dict[str, Float[Array, "..."]]]
) -> dict[str, Float[Array, "examples units *positions"]]:
    """Returns the inputs of the activation of each hidden layer, from a function that applies a
    network in inference mode and returns its taps.

    The function is called once for each layer, with a network that has the identity in place of
    the activation of this layer. In one compiled program all calls together cost one forward pass.

    ```python
    pre_activations_from(model, lambda network: jax.vmap(network)(jnp.ones((5, 64)))[1])
    ```

    **Raises:** `ValueError` as `pre_activations`.
    """
    check_elementwise(model)
    groups, bare = unit_groups(model), Elementwise(_identity)
    return {
        group.name: taps_of(with_activations(model, {layer: bare}))[group.name]
        for layer, group in enumerate(groups)
    }


def check_elementwise(model: Any) -> None:
    """**Raises:** `ValueError` if the network does not hold one `Elementwise` activation for each
    of its groups of units; `TypeError` if it does not describe its units."""
    found, groups = activations_of(model), unit_groups(model)
    if len(found) != len(groups) or not all(isinstance(a, Elementwise) for a in found):
        raise ValueError(
            f"`model` has the activations {[type(a).__name__ for a in found]} for "
            f"{len(groups)} groups of units, but pre-activations require one `Elementwise` for "
            "each group: keep the activations of your network as fields, such as "
            "`Elementwise(jax.nn.relu)`, in the order of its layers."
        )


def margins(pre: Float[Array, "examples units *positions"]) -> Float[Array, " units"]:
    """Returns the margin of each unit: the largest gamma for which it is gamma-margin dead
    (Definition 6.1), which is -max of its pre-activations. Negative for a unit that is alive.

    ```python
    margins(jnp.array([[-1.0, 1.0], [-3.0, -2.0]]))  # [1, -1]
    ```
    """
    others = tuple(a for a in range(pre.ndim) if a != 1)
    return -jnp.max(pre, axis=others)


def margin_dead(
    pre: Float[Array, "examples units *positions"], gamma: float | Float[Array, ""]
) -> Bool[Array, " units"]:
    """Marks the units whose pre-activation is at most -`gamma` on every example and position
    (Definition 6.1).

    With `gamma` = 0 these are the dead units of a ReLU network.
    """
    return margins(pre) >= gamma


def with_activations(model: PyTree, new: Mapping[int, AbstractActivation]) -> PyTree:
    """The network with other activations, by their indices in `activations_of`."""
    nodes, structure = jax.tree.flatten(model, is_leaf=_is_activation)
    places = [n for n, node in enumerate(nodes) if _is_activation(node)]
    for index, activation in new.items():
        nodes[places[index]] = activation
    return jax.tree.unflatten(structure, nodes)


def _is_activation(node: Any) -> bool:
    return isinstance(node, AbstractActivation)


def _identity(x: Array) -> Array:
    return x
