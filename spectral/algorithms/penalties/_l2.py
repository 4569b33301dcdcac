"""The L2 penalty."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._types import Step
from .._base._arguments import as_non_negative, Number
from .._base._protocols import AbstractPenalty


class L2(AbstractPenalty[None]):
    """(w/2) ||theta||^2 over all parameters, which adds w theta to the gradient.

    w is `weight_decay`, as in PyTorch, in optax and in the paper's published settings. The paper's
    formula lambda ||theta||^2 (Appendix D.1) has lambda = w/2.
    """

    weight_decay: Float[Array, ""]

    def __init__(self, weight_decay: Number):
        """**Raises:** `ValueError` for a negative weight decay."""
        self.weight_decay = as_non_negative("weight_decay", weight_decay)

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> None:
        return None

    def value(self, model: PyTree, state: None, step: Step) -> Float[Array, ""]:
        params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        return self.weight_decay / 2 * sum(jnp.sum(p**2) for p in params)
