"""The requirement that an optimiser keeps its state in the shapes of the parameters."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import PyTree


def check_per_entry(
    make: Any, transformation: optax.GradientTransformation, state: PyTree, params: PyTree
) -> None:
    """Check that each array which the transformation keeps for a parameter has its shape, so that
    the state of single entries can be reset.

    Adafactor and SM3 keep statistics of whole rows and columns, NovoGrad one number for an array.
    A reset of some entries has no meaning for these.

    **Raises:** `ValueError` naming the optimiser, the two shapes and the next step.
    """
    others = []

    def compare(kept: Any, param: Any) -> None:
        if not isinstance(kept, optax.MaskedNode) and jnp.shape(kept) != jnp.shape(param):
            others.append((jnp.shape(kept), jnp.shape(param)))

    masked = lambda node: isinstance(node, optax.MaskedNode)
    try:
        optax.tree_utils.tree_map_params(transformation, compare, state, params, is_leaf=masked)
    except (AttributeError, IndexError, TypeError, ValueError):
        found = "state whose structure is not that of the parameters"
    else:
        if not others:
            return
        found = "an array of shape {} for a parameter of shape {}".format(*others[0])
    kind = make if callable(make) and not isinstance(make, tuple) else type(make)
    name = getattr(kind, "__name__", type(kind).__name__)
    raise ValueError(
        f"The optimiser `{name}` keeps {found}, so it cannot forget single entries: use one that "
        "keeps its state for every entry, such as `algorithms.adam(1e-3)`, or an algorithm that "
        "neither renews units nor resets the output layer."
    )
