"""Parseval regularisation."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._types import Step
from ...models import unit_groups
from .._base._arguments import as_non_negative, as_positive, Number
from .._base._protocols import AbstractPenalty


class Parseval(AbstractPenalty[None]):
    """strength times the sum over hidden layers of (64 / m)^2 ||W W^T - s I||_F^2, s = gain^2.

    Chung et al., *Parseval Regularization for Continual Reinforcement Learning* (2024), with gain
    sqrt(2). W [m units, inputs] is the weight matrix of a hidden layer; the kernel of a convolution
    counts as a matrix [channels out, channels in x positions]. The output layer is not penalised,
    and neither are tables of vectors, whose units are columns: the embedding of a transformer, its
    positions and its class token. A table has no inputs of which its units are combinations, and a
    tied embedding is the output layer. Of an attention head every row is a unit.
    The product W W^T costs more than the gradient step of a small minibatch.
    """

    strength: Float[Array, ""]
    gain: Float[Array, ""]

    def __init__(self, strength: Number, *, gain: Number = 2**0.5):
        """**Raises:** `ValueError` for a negative strength or a gain that is not positive."""
        self.strength = as_non_negative("strength", strength)
        self.gain = as_positive("gain", gain)

    def init(self, model: Any, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`."""
        unit_groups(model)

    def value(self, model: Any, state: None, step: Step) -> Float[Array, ""]:
        weights = {}  # by identity, because groups of a residual stream may share a matrix
        for group in unit_groups(model):
            for entries in (e for e in group.incoming if e.axis == 0):
                weights[id(entries.where(model))] = entries.where(model)
        return self.strength * sum(self._layer(w.reshape(w.shape[0], -1)) for w in weights.values())

    def _layer(self, weight: Float[Array, "units inputs"]) -> Float[Array, ""]:
        units = weight.shape[0]
        difference = weight @ weight.T - self.gain**2 * jnp.eye(units)
        return (64 / units) ** 2 * jnp.sum(difference**2)
