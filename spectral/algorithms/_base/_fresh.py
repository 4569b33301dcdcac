"""Freshly initialised parameters in the structure of an existing network."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ...models import DescribesUnits, DrawsFresh, PlasticityInjection
from ._unit_groups import sparse_layers


def fresh_parameters(model: Any, *, key: PRNGKeyArray) -> PyTree:
    """Returns the parameters of a `model.fresh`, in the structure of the parameters of `model`.

    Sparse layers keep their connections. New weights are drawn for these connections, because the
    connections of `model.fresh` are in other places.

    **Raises:** `TypeError` for a model without `fresh`.
    """
    if not isinstance(model, DrawsFresh):
        raise TypeError(
            f"`model` is a {type(model).__name__} without a method `fresh(key=...)`, which this "
            "algorithm needs to draw new weights: derive it from `spectral.models.AbstractNetwork`."
        )
    sparse = sparse_layers(model) if isinstance(model, DescribesUnits) else []
    key, *keys = jax.random.split(key, 1 + len(sparse)) if sparse else [key]
    old = eqx.filter(model, eqx.is_inexact_array)
    # A new network also carries its initial running statistics, which are not parameters.
    new = eqx.filter(eqx.nn.delete_init_state(model.fresh(key=key)), eqx.is_inexact_array)
    # Leaves are matched by position: the two structures differ in the markers that name the running
    # statistics.
    drawn = [
        n.astype(o.dtype) for o, n in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    ]
    fresh = jax.tree.unflatten(jax.tree.structure(old), drawn)
    for (group, weight_of, mask_of), own_key in zip(sparse, keys, strict=True):
        weight = weight_of(fresh)
        own = group.draw(own_key, weight.shape).astype(weight.dtype)
        fresh = eqx.tree_at(weight_of, fresh, jnp.where(mask_of(model), own, 0))
    return fresh


def fresh_network(
    model: Any, model_state: eqx.nn.State | None, *, key: PRNGKeyArray
) -> tuple[Any, eqx.nn.State | None]:
    """Returns a newly initialised network with the structure of `model`, and its initial state.

    Sparse layers keep their connections, as in `Reset`. Members of one `jax.lax.map` can be the old
    network and new ones.

    ```python
    model = models.MLP(3, 2, width=4, key=jax.random.key(0))
    twin, _ = algorithms.fresh_network(model, None, key=jax.random.key(1))
    ```

    **Raises:** `TypeError` for a model without `fresh`.
    """
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    if isinstance(model, PlasticityInjection) and model.injected is not None:
        # What the injection has frozen is of the old network.
        static = eqx.tree_at(lambda m: m.injected, static, jnp.zeros_like(model.injected))
    fresh = eqx.combine(fresh_parameters(model, key=key), static)
    if model_state is None:
        return fresh, None
    # The markers that name the running statistics differ, and their order does not.
    first = jax.tree.leaves(eqx.nn.State(model.fresh(key=key)))
    now, structure = jax.tree.flatten(model_state)
    first = [a.astype(b.dtype) for a, b in zip(first, now, strict=True)]
    return fresh, jax.tree.unflatten(structure, first)
