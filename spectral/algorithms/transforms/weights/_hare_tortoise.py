"""Hare and tortoise: a fast network that returns now and then to the average of its past."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import check_count, check_fraction
from ...._types import Learner, Signal
from ..._base._algorithm import AbstractTransform
from ..._base._periodic import is_due


class HareTortoise(AbstractTransform[PyTree]):
    """slow <- decay slow + (1 - decay) fast at every step; fast <- slow at every `period`-th.

    Lee et al., *Slow and Steady Wins the Race* (2024). The learner is the hare, the fast network;
    the state is the tortoise, which begins as the same weights. The published method evaluates the
    tortoise: with a period that divides the steps of a task, hare and tortoise are equal when a
    task ends and is evaluated. The momenta of the optimiser and the running statistics of a network
    stay those of the hare.
    """

    decay: Float[Array, ""]
    period: int = eqx.field(static=True)

    def __init__(self, *, decay: float | Float[Array, ""] = 0.999, period: int):
        """**Raises:** `ValueError` for a decay outside [0, 1] or a period below one."""
        check_fraction("decay", decay)
        check_count("period", period)
        self.decay = jnp.asarray(decay, dtype=float)
        self.period = period

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> PyTree:
        return eqx.filter(learner.model, eqx.is_inexact_array)

    def update(
        self, learner: Learner, state: PyTree, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, PyTree]:
        """**Raises:** `ValueError` for a period that does not fit the chunk."""
        fast, static = eqx.partition(learner.model, eqx.is_inexact_array)
        slow = jax.tree.map(lambda s, f: f + self.decay * (s - f), state, fast)
        due = is_due(signal, self.period)
        # A choice entry by entry costs nothing beside the average; a branch would copy the weights.
        fast = jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, fast)
        model = eqx.combine(fast, static)
        return Learner(model, learner.model_state, learner.optimiser), slow
