"""The parameters of a newly initialised network, within the structure of an old one."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree


def fresh_parameters(model: Any, *, key: PRNGKeyArray) -> PyTree:
    """The parameters of `model.fresh(key=key)`, in the structure of those of `model`.

    **Raises:** `TypeError` for a model without `fresh`.
    """
    if not hasattr(model, "fresh"):
        raise TypeError(
            f"`model` is a {type(model).__name__} without a method `fresh(key=...)`, by which this "
            "algorithm draws new weights: derive it from `spectral.models.AbstractNetwork`."
        )
    old = eqx.filter(model, eqx.is_inexact_array)
    # A new network carries the beginning of its running statistics, which are no parameters.
    new = eqx.filter(eqx.nn.delete_init_state(model.fresh(key=key)), eqx.is_inexact_array)
    # By position: the names of its running statistics are other objects than those of the old.
    drawn = [
        n.astype(o.dtype) for o, n in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(old), drawn)
