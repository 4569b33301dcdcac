"""The L2 penalty towards the initial weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._types import Signal, Step
from .._base._after_reset import where_reset
from .._base._arguments import as_non_negative, as_positive, Number
from .._base._fresh import fresh_parameters
from .._base._protocols import AbstractPenalty


class L2Init(AbstractPenalty[PyTree]):
    """(strength / 2) ||theta - theta_0||^2 over all parameters.

    Kumar et al., *Maintaining Plasticity in Continual Learning via Regenerative Regularization*
    (2023). Their formula lambda ||theta - theta_0||^2 has lambda = strength / 2; the gradient gains
    strength (theta - theta_0). theta_0 are the weights at the start of the run, or after
    the last `Reset`. There are two variants:

    - `resample=True`: theta_0 is a newly initialised network at every step, which costs a random
      draw for every weight.
    - `huber=d`: an entry x = theta - theta_0 with |x| > d counts d (|x| - d/2) instead of x^2 / 2,
      so no entry is pulled by more than strength d.
    """

    strength: Float[Array, ""]
    huber: Float[Array, ""] | None
    resample: bool = eqx.field(static=True)

    def __init__(self, strength: Number, *, huber: Number | None = None, resample: bool = False):
        """**Raises:** `ValueError` for a negative strength or a `huber` that is not positive."""
        self.strength = as_non_negative("strength", strength)
        self.huber = None if huber is None else as_positive("huber", huber)
        self.resample = resample

    def init(self, model: Any, *, key: PRNGKeyArray) -> PyTree:
        return fresh_parameters(model, key=key) if self.resample else _parameters(model)

    def value(self, model: Any, state: PyTree, step: Step) -> Float[Array, ""]:
        distances = jax.tree.map(lambda p, o: p - o, _parameters(model), state)
        return self.strength * sum(jnp.sum(self._loss(d)) for d in jax.tree.leaves(distances))

    def update(self, model: Any, state: PyTree, signal: Signal, *, key: PRNGKeyArray) -> PyTree:
        return fresh_parameters(model, key=key) if self.resample else state

    def after_reset(
        self, model: Any, state: PyTree, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> PyTree:
        return where_reset(reset, self.init(model, key=key), state)

    def _loss(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if self.huber is None:
            return x**2 / 2
        size = jnp.abs(x)
        return jnp.where(size <= self.huber, x**2 / 2, self.huber * (size - self.huber / 2))


def _parameters(model: PyTree) -> PyTree:
    return eqx.filter(model, eqx.is_inexact_array)
