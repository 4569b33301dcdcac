"""The parameters of a newly initialised network, within the structure of an old one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ...models import DescribesUnits, DrawsFresh
from ._unit_groups import sparse_layers


def fresh_parameters(model: Any, *, key: PRNGKeyArray) -> PyTree:
    """The parameters of a `model.fresh`, in the structure of those of `model`.

    The connections of a sparse layer stay where they are, and their weights are drawn for them: a
    new network has its connections elsewhere.

    **Raises:** `TypeError` for a model without `fresh`.
    """
    if not isinstance(model, DrawsFresh):
        raise TypeError(
            f"`model` is a {type(model).__name__} without a method `fresh(key=...)`, by which this "
            "algorithm draws new weights: derive it from `spectral.models.AbstractNetwork`."
        )
    sparse = sparse_layers(model) if isinstance(model, DescribesUnits) else []
    key, *keys = jax.random.split(key, 1 + len(sparse)) if sparse else [key]
    old = eqx.filter(model, eqx.is_inexact_array)
    # A new network carries the beginning of its running statistics, which are no parameters.
    new = eqx.filter(eqx.nn.delete_init_state(model.fresh(key=key)), eqx.is_inexact_array)
    # By position: the names of its running statistics are other objects than those of the old.
    drawn = [
        n.astype(o.dtype) for o, n in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    ]
    fresh = jax.tree.unflatten(jax.tree.structure(old), drawn)
    for (group, weight_of, mask_of), own_key in zip(sparse, keys, strict=True):
        weight = weight_of(fresh)
        own = group.draw(own_key, weight.shape).astype(weight.dtype)
        fresh = eqx.tree_at(weight_of, fresh, jnp.where(mask_of(model), own, 0))
    return fresh
