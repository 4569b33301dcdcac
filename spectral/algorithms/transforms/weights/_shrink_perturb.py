"""Shrink and perturb."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import check_above, check_count, unknown_name
from ...._types import Clock, Learner, Signal
from ..._base._algorithm import AbstractTransform
from ..._base._fresh import fresh_parameters
from ..._base._noise import gaussian_like


_MOMENTS = ("step", "task")
_TARGETS = ("fresh", "initial")


class ShrinkPerturb(AbstractTransform[PyTree]):
    """theta <- shrink theta + amount target + noise xi for all parameters, xi standard normal.

    The versions in circulation differ in when, towards what, and with what noise:

    - Ash & Adams, *On Warm-Starting Neural Network Training* (2020), before every task but the
      first: `ShrinkPerturb(0.6, target="fresh", amount=0.1, at="task")`.
    - Dohare et al. (2024), at every step, with the shrinking left to weight decay:
      `ShrinkPerturb(noise=1e-5)`, and the `L2` penalty.
    - at every step towards one fixed initial sample: `ShrinkPerturb(1 - 1e-6, target="initial",
      amount=1e-6)`.

    Drawing a number for every weight costs more than the gradient step of a batch of one. `steps=n`
    makes one action stand for n: it shrinks by shrink^n and adds what n perturbations would add, of
    the same mean and variance. So `Periodic(ShrinkPerturb(noise=1e-5, steps=100), 100)` costs a
    hundredth, and after each hundred steps has perturbed the weights as much. (Not so the scales of
    norm layers with `target="fresh"`: they begin at one, and what is added to them is taken for a
    draw of mean zero, as all other parameters of a new network are.)
    """

    shrink: Float[Array, ""]
    noise: Float[Array, ""] | None
    amount: Float[Array, ""] | None
    target: str | None = eqx.field(static=True)
    at: str = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        shrink: float | Float[Array, ""] = 1.0,
        noise: float | Float[Array, ""] | None = None,
        target: Literal["fresh", "initial"] | None = None,
        amount: float | Float[Array, ""] | None = None,
        at: Literal["step", "task"] = "step",
        steps: int = 1,
    ):
        """**Arguments:**

        - `shrink`: factor of the weights at one step.
        - `noise`: standard deviation of the Gaussian noise of one step; `None` draws none.
        - `target`: `"fresh"`, a newly initialised network each time, or `"initial"`, the weights
          with which the run began.
        - `amount`: factor of the target.
        - `at`: act at every `"step"`, or at the start of every `"task"` but the first.
        - `steps`: how many steps one action stands for.

        **Raises:** `ValueError` for a negative number, an unknown name, or a target without an
        amount.
        """
        check_above("shrink", shrink, 0, strict=False)
        check_count("steps", steps)
        if at not in _MOMENTS:
            raise ValueError(f"`at`: {unknown_name('Name', at, _MOMENTS)}")
        if target is not None and target not in _TARGETS:
            raise ValueError(f"`target`: {unknown_name('Name', target, _TARGETS)}")
        if (target is None) != (amount is None):
            raise ValueError(
                f"`target` is {target!r} and `amount` is {amount!r}, but one needs the other: give "
                "both, or neither."
            )
        if noise is not None:
            check_above("noise", noise, 0, strict=False)
        if amount is not None:
            check_above("amount", amount, 0, strict=False)
        array = lambda x: None if x is None else jnp.asarray(x, dtype=float)
        self.shrink = jnp.asarray(shrink, dtype=float)
        self.noise, self.amount = array(noise), array(amount)
        self.target, self.at, self.steps = target, at, steps

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> PyTree:
        if self.target == "initial":
            return eqx.filter(learner.model, eqx.is_inexact_array)
        return None

    def begin_task(
        self, learner: Learner, state: PyTree, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, PyTree]:
        if self.at == "step":
            return learner, state
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        act = lambda p: self._changed(p, learner.model, state, key=key)
        params = jax.lax.cond(clock.task > 0, act, lambda p: p, params)
        model = eqx.combine(params, static)
        return Learner(model, learner.model_state, learner.optimiser), state

    def update(
        self, learner: Learner, state: PyTree, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, PyTree]:
        if self.at == "task":
            return learner, state
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        params = self._changed(params, learner.model, state, key=key)
        model = eqx.combine(params, static)
        return Learner(model, learner.model_state, learner.optimiser), state

    def _changed(
        self, params: PyTree, model: PyTree, initial: PyTree, *, key: PRNGKeyArray
    ) -> PyTree:
        powers = self.shrink ** jnp.arange(self.steps)
        # What n independent draws, each shrunk by the steps after it, add up to.
        spread = jnp.sqrt(jnp.sum(powers**2))
        noise_key, fresh_key = jax.random.split(key)
        params = jax.tree.map(lambda p: self.shrink**self.steps * p, params)
        if self.target == "fresh" and self.amount is not None:
            amount = spread * self.amount
            fresh = fresh_parameters(model, key=fresh_key)
            params = jax.tree.map(lambda p, t: p + amount * t, params, fresh)
        elif self.target == "initial" and self.amount is not None:
            total = jnp.sum(powers) * self.amount
            params = jax.tree.map(lambda p, t: p + total * t, params, initial)
        if self.noise is not None:
            scale = spread * self.noise
            xi = gaussian_like(params, key=noise_key)
            params = jax.tree.map(lambda p, x: p + scale * x, params, xi)
        return params
