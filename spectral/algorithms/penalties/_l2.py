"""The L2 penalty."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above
from .._base._algorithm import AbstractPenalty


class L2(AbstractPenalty[None]):
    """(w/2) ||theta||^2 over all parameters, which adds w * theta to the gradient.

    This is `weight_decay=w` of PyTorch and optax and of the paper's published settings. The paper's
    formula, lambda ||theta||^2 (Appendix D.1), is lambda = w/2.
    """

    weight_decay: Float[Array, ""]

    def __init__(self, weight_decay: float | Float[Array, ""]):
        """**Raises:** `ValueError` for a negative weight decay."""
        check_above("weight_decay", weight_decay, 0, strict=False)
        self.weight_decay = jnp.asarray(weight_decay, dtype=float)

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> None:
        return None

    def value(self, model: PyTree, state: None) -> Float[Array, ""]:
        params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        return self.weight_decay / 2 * sum(jnp.sum(p**2) for p in params)

    def update(self, model: PyTree, state: None, *, key: PRNGKeyArray) -> None:
        return state
