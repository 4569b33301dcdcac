"""Schedules of learning rates, with the formulas of optax and with numbers that are data."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._arguments import check_above
from ..._base._schedule import AbstractLearningRateSchedule
from .._base._arguments import as_fraction, as_non_negative, as_positive, check_name, Number


Restart = Literal["never", "task"]


class Constant(AbstractLearningRateSchedule):
    """The learning rate `peak`, reached by a linear warm-up from 0 over `warmup_steps` steps.

    **Raises:** `ValueError` for a `peak` that is not positive, a negative `warmup_steps`, or an
    unknown `restart`.

    ```python
    algorithms.bp(Constant(0.03, warmup_steps=100, restart="task"))
    ```
    """

    peak: Float[Array, ""]
    warmup_steps: Float[Array, ""]
    restart: Restart = eqx.field(static=True)

    def __init__(self, peak: Number, *, warmup_steps: Number = 0, restart: Restart = "never"):
        self.peak = as_positive("peak", peak)
        self.warmup_steps = as_non_negative("warmup_steps", warmup_steps)
        self.restart = _known(restart)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.peak * _warmed(step, self.warmup_steps)


class WarmupCosine(AbstractLearningRateSchedule):
    """A linear warm-up from 0 to `peak`, then half a cosine down to `end`, which is kept.

    As `optax.warmup_cosine_decay_schedule`: `decay_steps` is the number of steps to the end of the
    cosine, with the warm-up. It must exceed `warmup_steps`.

    **Raises:** `ValueError` for a `peak` that is not positive, a negative `warmup_steps` or `end`,
    a `decay_steps` that is not larger than `warmup_steps`, or an unknown `restart`.

    ```python
    lr = WarmupCosine(1e-3, warmup_steps=100, decay_steps=1000, restart="task")
    algorithms.l2(adam(lr), weight_decay=1e-4)
    ```
    """

    peak: Float[Array, ""]
    warmup_steps: Float[Array, ""]
    decay_steps: Float[Array, ""]
    end: Float[Array, ""]
    restart: Restart = eqx.field(static=True)

    def __init__(
        self,
        peak: Number,
        *,
        decay_steps: Number,
        warmup_steps: Number = 0,
        end: Number = 0.0,
        restart: Restart = "never",
    ):
        self.peak = as_positive("peak", peak)
        self.warmup_steps = as_non_negative("warmup_steps", warmup_steps)
        check_above("decay_steps - warmup_steps", decay_steps - warmup_steps, 0)
        self.decay_steps = as_positive("decay_steps", decay_steps)
        self.end = as_non_negative("end", end)
        self.restart = _known(restart)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        length = self.decay_steps - self.warmup_steps
        done = jnp.clip((step - self.warmup_steps) / length, 0, 1)
        falling = self.end + (self.peak - self.end) * (1 + jnp.cos(jnp.pi * done)) / 2
        return jnp.where(
            step < self.warmup_steps, self.peak * _warmed(step, self.warmup_steps), falling
        )


class ExponentialDecay(AbstractLearningRateSchedule):
    """`peak` times `factor` to the power step / `decay_steps`, as `optax.exponential_decay`.

    With `staircase=True` the power is rounded down: the learning rate falls in steps. (`StepDecay`
    is a transform that lets any learning rate fall at given chunks of a task.)

    **Raises:** `ValueError` for a `peak` or `decay_steps` that is not positive, a `factor` outside
    [0, 1], or an unknown `restart`.

    ```python
    algorithms.bp(ExponentialDecay(0.1, factor=0.5, decay_steps=1000, staircase=True))
    ```
    """

    peak: Float[Array, ""]
    factor: Float[Array, ""]
    decay_steps: Float[Array, ""]
    staircase: bool = eqx.field(static=True)
    restart: Restart = eqx.field(static=True)

    def __init__(
        self,
        peak: Number,
        *,
        factor: Number,
        decay_steps: Number,
        staircase: bool = False,
        restart: Restart = "never",
    ):
        self.peak = as_positive("peak", peak)
        self.factor = as_fraction("factor", factor)
        self.decay_steps = as_positive("decay_steps", decay_steps)
        self.staircase = staircase
        self.restart = _known(restart)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        power = step / self.decay_steps
        return self.peak * self.factor ** (jnp.floor(power) if self.staircase else power)


class InverseSquareRoot(AbstractLearningRateSchedule):
    """A linear warm-up from 0 to `peak`, then `peak` times sqrt(`warmup_steps` / step).

    This is the schedule of Vaswani et al. (2017, equation 3), written with its largest value.

    **Raises:** `ValueError` for a `peak` or `warmup_steps` that is not positive, or an unknown
    `restart`.

    ```python
    algorithms.bp(adam(InverseSquareRoot(1e-3, warmup_steps=100)))
    ```
    """

    peak: Float[Array, ""]
    warmup_steps: Float[Array, ""]
    restart: Restart = eqx.field(static=True)

    def __init__(self, peak: Number, *, warmup_steps: Number, restart: Restart = "never"):
        self.peak = as_positive("peak", peak)
        self.warmup_steps = as_positive("warmup_steps", warmup_steps)
        self.restart = _known(restart)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        falling = jnp.sqrt(self.warmup_steps / jnp.maximum(step, self.warmup_steps))
        return self.peak * _warmed(step, self.warmup_steps) * falling


def _warmed(step: Int[Array, ""], warmup_steps: Float[Array, ""]) -> Float[Array, ""]:
    """The fraction of a linear warm-up that is done; 1 without a warm-up."""
    done = jnp.minimum(step / jnp.where(warmup_steps > 0, warmup_steps, 1), 1)
    return jnp.where(warmup_steps > 0, done, 1)


def _known(restart: Restart) -> Restart:
    check_name("restart", restart, ("never", "task"))
    return restart
