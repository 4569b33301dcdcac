"""Pre-activations, and how far below zero those of dead units stay."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .._apply import apply_network
from ..layers._activations import AbstractActivation, Elementwise
from ._described import DescribesUnits


def activations_of(model: PyTree) -> list[AbstractActivation]:
    """The activations of a network, in the order of its layers."""
    return [node for node in jax.tree.leaves(model, is_leaf=_is_activation) if _is_activation(node)]


def pre_activations(
    model: DescribesUnits,
    inputs: PyTree[Float[Array, "examples ..."]],
    *,
    model_state: eqx.nn.State | None = None,
) -> dict[str, Float[Array, "examples units *positions"]]:
    """What the activation of each hidden layer is given, under the names of the taps.

    After a normalisation, if there is one, which takes the running statistics in `model_state`. It
    takes one forward pass for each layer.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.models import MLP, pre_activations

    model = MLP(3, 2, width=4, depth=2, key=jax.random.key(0))
    pre_activations(model, jnp.ones((5, 3)))  # {"hidden_0": [5, 4], "hidden_1": [5, 4]}
    ```

    **Raises:** `ValueError` for a network that does not hold one activation with one number for
    each unit (an `Elementwise`, such as `"relu"`) for each of its groups of units, or for one with
    running statistics and no `model_state`.
    """
    found, groups = activations_of(model), model.units()
    if len(found) != len(groups) or not all(isinstance(a, Elementwise) for a in found):
        raise ValueError(
            f"`model` has the activations {[type(a).__name__ for a in found]} for "
            f"{len(groups)} groups of units, but pre-activations are known for one `Elementwise` "
            "for each group: hold the activations of a network of your own as fields, such as "
            "`Elementwise(jax.nn.relu)`, in the order of its layers."
        )
    result = {}
    for layer, group in enumerate(groups):
        _, aux = apply_network(_laid_bare(model, layer), model_state, inputs, inference=True)
        result[group.name] = aux.taps[group.name]
    return result


def margins(pre: Float[Array, "examples units *positions"]) -> Float[Array, " units"]:
    """The smallest distance below zero of each unit's pre-activations: the largest gamma for which
    it is gamma-margin dead (Definition 6.1), negative for a unit that is alive.

    ```python
    margins(jnp.array([[-1.0, 1.0], [-3.0, -2.0]]))  # [1, -1]
    ```
    """
    others = tuple(a for a in range(pre.ndim) if a != 1)
    return -jnp.max(pre, axis=others)


def margin_dead(
    pre: Float[Array, "examples units *positions"], gamma: float | Float[Array, ""]
) -> Bool[Array, " units"]:
    """Units whose pre-activation is at most -`gamma` on every example and position (Def. 6.1).

    With `gamma` = 0 these are the dead units of a ReLU network.
    """
    return margins(pre) >= gamma


def _is_activation(node: Any) -> bool:
    return isinstance(node, AbstractActivation)


def _laid_bare(model: PyTree, layer: int) -> PyTree:
    """The network with the activation of one layer left out."""
    nodes, structure = jax.tree.flatten(model, is_leaf=_is_activation)
    place = [n for n, node in enumerate(nodes) if _is_activation(node)][layer]
    nodes[place] = Elementwise(_as_it_is)
    return jax.tree.unflatten(structure, nodes)


def _as_it_is(x: Array) -> Array:
    return x
