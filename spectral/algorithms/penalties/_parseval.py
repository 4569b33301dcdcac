"""Parseval regularisation."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from ...models import unit_groups
from .._base._algorithm import AbstractPenalty


class Parseval(AbstractPenalty[None]):
    """strength times the sum over hidden layers of (64 / m)^2 ||W W^T - s I||_F^2, s = gain^2.

    Chung et al., *Parseval Regularization for Continual Reinforcement Learning* (2024), with gain
    sqrt(2). W is the matrix [m units, inputs] of a hidden layer; kernels of convolutions count as
    matrices [channels out, channels in x positions], and the last layer is left alone. The product
    W W^T costs more than the gradient step of a small batch.
    """

    strength: Float[Array, ""]
    gain: Float[Array, ""]

    def __init__(
        self, strength: float | Float[Array, ""], *, gain: float | Float[Array, ""] = 2**0.5
    ):
        """**Raises:** `ValueError` for a negative strength or a gain that is not positive."""
        check_above("strength", strength, 0, strict=False)
        check_above("gain", gain, 0)
        self.strength = jnp.asarray(strength, dtype=float)
        self.gain = jnp.asarray(gain, dtype=float)

    def init(self, model: Any, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`."""
        unit_groups(model)

    def value(self, model: Any, state: None) -> Float[Array, ""]:
        weights = {}  # by identity: groups of a residual stream may share theirs
        for group in unit_groups(model):
            for entries in group.incoming:
                weights[id(entries.where(model))] = entries.where(model)
        return self.strength * sum(self._layer(w.reshape(w.shape[0], -1)) for w in weights.values())

    def _layer(self, weight: Float[Array, "units inputs"]) -> Float[Array, ""]:
        units = weight.shape[0]
        difference = weight @ weight.T - self.gain**2 * jnp.eye(units)
        return (64 / units) ** 2 * jnp.sum(difference**2)

    def update(self, model: Any, state: None, *, key: PRNGKeyArray) -> None:
        return state
