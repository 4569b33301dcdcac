"""Hare and tortoise: a fast network that periodically returns to the mean of its past."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count
from ...._types import Learner, Signal
from ..._base._after_reset import where_reset
from ..._base._arguments import as_fraction, Number
from ..._base._periodic import is_due
from ..._base._protocols import AbstractTransform


class HareTortoise(AbstractTransform[PyTree]):
    """slow <- decay slow + (1 - decay) fast at every step; fast <- slow every `period` steps.

    Lee et al., *Slow and Steady Wins the Race* (2024). The model of the learner is the hare, the
    fast network. The state is the tortoise, which starts from the same weights. The published
    method evaluates the tortoise: with a period that divides the steps of a task, hare and tortoise
    are equal when a task ends and is evaluated. The optimiser's momenta and the running statistics
    stay those of the hare. After a `Reset` both start from the new weights.
    """

    decay: Float[Array, ""]
    period: int = eqx.field(static=True, converter=as_int)

    def __init__(self, *, decay: Number = 0.999, period: int):
        """**Raises:** `ValueError` for a decay outside [0, 1] or a period below one."""
        self.decay = as_fraction("decay", decay)
        check_count("period", period)
        self.period = period

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> PyTree:
        return eqx.filter(learner.model, eqx.is_inexact_array)

    def update(
        self, learner: Learner, state: PyTree, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, PyTree]:
        """**Raises:** `ValueError` for a period that does not fit the chunk."""
        fast, static = eqx.partition(learner.model, eqx.is_inexact_array)
        slow = jax.tree.map(lambda s, f: f + self.decay * (s - f), state, fast)
        # Not under `Periodic`, because the mean is updated at every step. Selecting entry by entry
        # costs nothing compared with the mean; a branch would copy the weights.
        due = is_due(signal, self.period)
        fast = jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, fast)
        return replace(learner, model=eqx.combine(fast, static)), slow

    def after_reset(
        self, learner: Learner, state: PyTree, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> PyTree:
        return where_reset(reset, self.init(learner, key=key), state)
