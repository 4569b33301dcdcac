"""The parameters of the output layer."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from ._described import unit_groups
from ._margins import activations_of


def head_parameters(model: Any) -> PyTree[bool]:
    """Marks the parameters that belong to the output layer: those that are not incoming weights,
    bias, norm or learnt activation of a hidden unit, and not shared by the units of a layer.

    Returns one Boolean for each array, in the structure of the parameters.

    ```python
    model = models.MLP(3, 2, width=4, depth=1, key=jax.random.key(0))
    jax.tree.leaves(models.head_parameters(model))  # [False, False, True, True]
    ```

    **Raises:** `TypeError` for a model without `units()`.
    """
    hidden = {id(leaf) for leaf in jax.tree.leaves(activations_of(model))}
    for group in unit_groups(model):
        for entries in group.own_entries:
            hidden.add(id(entries.where(model)))
        hidden |= {id(where(model)) for where in group.shared}
    params = eqx.filter(model, eqx.is_inexact_array)
    return jax.tree.map(lambda p: id(p) not in hidden, params)
