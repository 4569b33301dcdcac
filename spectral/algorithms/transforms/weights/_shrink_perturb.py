"""Shrink and perturb."""

from dataclasses import replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count, MOST_ROUNDS
from ...._carry import branch
from ...._types import Learner, Signal, TaskStart
from ..._base._after_reset import where_reset
from ..._base._arguments import as_non_negative, check_name, Number
from ..._base._fresh import fresh_parameters
from ..._base._noise import gaussian_like
from ..._base._protocols import AbstractTransform


class ShrinkPerturb(AbstractTransform[PyTree]):
    """theta <- shrink theta + amount target + noise xi for all parameters, xi standard normal.

    Published versions differ in when they act, towards which target, and with what noise:

    - Ash & Adams, *On Warm-Starting Neural Network Training* (2020), before every task except the
      first: `ShrinkPerturb(shrink=0.6, target="fresh", amount=0.1, at="task")`.
    - Dohare et al. (2024), at every step, with weight decay in place of shrinking:
      `ShrinkPerturb(noise=1e-5)` and the `L2` penalty.
    - at every step towards one fixed initial sample:
      `ShrinkPerturb(shrink=1 - 1e-6, target="initial", amount=1e-6)`.

    Drawing a number for every weight costs more than the gradient step of a minibatch of one. With
    `steps=n` one action stands for n: it shrinks by shrink^n and adds a sample with the mean and
    variance of the sum of n perturbations. So `Periodic(ShrinkPerturb(noise=1e-5, steps=100), 100)`
    costs a hundredth and perturbs the weights equally over 100 steps. (An exception are the scales
    of norm layers with `target="fresh"`: they are initialised to one, but are treated as a draw of
    mean zero, as all other parameters of a new network are.)
    """

    shrink: Float[Array, ""]
    noise: Float[Array, ""] | None
    amount: Float[Array, ""] | None
    target: Literal["fresh", "initial"] | None = eqx.field(static=True)
    at: Literal["step", "task"] = eqx.field(static=True)
    steps: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        *,
        shrink: Number = 1.0,
        noise: Number | None = None,
        target: Literal["fresh", "initial"] | None = None,
        amount: Number | None = None,
        at: Literal["step", "task"] = "step",
        steps: int = 1,
    ):
        """**Arguments:**

        - `shrink`: factor of the weights at one step.
        - `noise`: standard deviation of the Gaussian noise of one step; `None` draws none.
        - `target`: `"fresh"`, a newly initialised network each time, or `"initial"`, the weights at
          the start of the run or after the last `Reset`.
        - `amount`: factor of the target.
        - `at`: act at every `"step"`, or at the start of every `"task"` except the first.
        - `steps`: how many steps one action stands for.

        **Raises:** `ValueError` for a negative number, an unknown name, or a target without an
        amount.
        """
        check_name("at", at, ("step", "task"))
        if target is not None:
            check_name("target", target, ("fresh", "initial"))
        if (target is None) != (amount is None):
            raise ValueError(
                f"`target` is {target!r} and `amount` is {amount!r}, but one needs the other: give "
                "both, or neither."
            )
        check_count("steps", steps, maximum=MOST_ROUNDS)
        self.shrink = as_non_negative("shrink", shrink)
        self.noise = None if noise is None else as_non_negative("noise", noise)
        self.amount = None if amount is None else as_non_negative("amount", amount)
        self.target, self.at, self.steps = target, at, steps

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> PyTree:
        if self.target == "initial":
            return eqx.filter(learner.model, eqx.is_inexact_array)
        return None

    def begin_task(
        self, learner: Learner, state: PyTree, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, PyTree]:
        if self.at == "step":
            return learner, state
        change = lambda learner: self._changed(learner, state, key=key)
        return branch(start.clock.task > 0, change, learner), state

    def update(
        self, learner: Learner, state: PyTree, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, PyTree]:
        if self.at == "task":
            return learner, state
        return self._changed(learner, state, key=key), state

    def after_reset(
        self, learner: Learner, state: PyTree, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> PyTree:
        if self.target != "initial":
            return state
        return where_reset(reset, self.init(learner, key=key), state)

    def _changed(self, learner: Learner, initial: PyTree, *, key: PRNGKeyArray) -> Learner:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        powers = self.shrink ** jnp.arange(self.steps)
        # The standard deviation of the sum of n independent draws, each shrunk by all later steps.
        spread = jnp.sqrt(jnp.sum(powers**2))
        noise_key, fresh_key = jax.random.split(key)
        params = jax.tree.map(lambda p: self.shrink**self.steps * p, params)
        if self.target == "fresh" and self.amount is not None:
            amount = spread * self.amount
            fresh = fresh_parameters(learner.model, key=fresh_key)
            params = jax.tree.map(lambda p, t: p + amount * t, params, fresh)
        elif self.target == "initial" and self.amount is not None:
            total = jnp.sum(powers) * self.amount
            params = jax.tree.map(lambda p, t: p + total * t, params, initial)
        if self.noise is not None:
            scale = spread * self.noise
            xi = gaussian_like(params, key=noise_key)
            params = jax.tree.map(lambda p, x: p + scale * x, params, xi)
        return replace(learner, model=eqx.combine(params, static))
