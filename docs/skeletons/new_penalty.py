"""A new penalty: one file in `algorithms/penalties/`, one row in `ALGORITHMS` of `tests/tables.py`,
and a reference in `tests/algorithms/test_penalties.py`.

A penalty is a term that is added to the loss before the gradient is taken. It sees the step: the
minibatch, the rest of the chunk, the network before the step, and a key.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from spectral import Signal, Step
from spectral.algorithms import AbstractPenalty


class L1(AbstractPenalty[None]):
    """strength * sum |theta|."""

    strength: Float[Array, ""]

    def __init__(self, strength: float | Float[Array, ""]):
        self.strength = jnp.asarray(strength, dtype=float)

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> None:
        return None

    def value(self, model: PyTree, state: None, step: Step) -> Float[Array, ""]:
        params = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        return self.strength * sum(jnp.sum(jnp.abs(p)) for p in params)

    def update(self, model: PyTree, state: None, signal: Signal, *, key: PRNGKeyArray) -> None:
        return state


if __name__ == "__main__":
    model = {"w": jnp.array([1.0, -2.0])}
    step: Any = None  # this penalty does not look at it
    print(L1(0.5).value(model, None, step))  # 1.5
