"""Calibrated partial resets: units move towards new ones, the further the less they learn."""

import math
from dataclasses import replace
from typing import get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_above, check_count
from ...._carry import branch
from ...._types import Learner, Signal
from ....models import Entries
from ..._base._arguments import as_fraction, as_positive, check_name, Number
from ..._base._fresh import fresh_parameters
from ..._base._named import Names, optional_names
from ..._base._periodic import begins_period
from ..._base._protocols import AbstractTransform
from ..._base._unit_groups import all_new, magnitude, replaceable_groups


Curve = Literal["sigmoid", "exponential", "softplus", "linear"]
_Utilities = tuple[Float[Array, " _"], ...]
_EPS = 1e-8  # in the mean over a layer, as in the authors' code


class CalibratedPartialReset(AbstractTransform[_Utilities]):
    """Calibrated partial resets (CPR; McCutcheon et al., *Calibrated Partial Resets: Preventing
    Policy Collapse in Continual RL*, arXiv 2607.24996), the later name of continuous continual
    backpropagation (CCBP).

    After each step and in each hidden layer, s is the mean |gradient| of the incoming weights of a
    unit, of the loss of the minibatch with its penalties, and u its utility, which starts at 1:

        u <- decay u + (1 - decay) s / (mean s + 1e-8)

    Every `period` steps, after the first of the next period, each unit moves by
    r = amount T(u) towards a new one, and all u are 1 again:

        W_in <- (1 - r) W_in + r (weights of a new network)         W_out <- (1 - r) W_out

    T falls from 1 to 0 as u grows. With k = `sharpness` and t = `threshold` it is, never above 1,

        2 sigmoid(-k (u - t))     e^(-k (u - t))     softplus(k (t - u)) / ln 2     1 - k (u - t)

    ("sigmoid", "exponential", "softplus", "linear"; the last is at least 0). Biases, norms and the
    state of the optimiser do not change. A matrix between two layers is first shrunk as W_out of
    the one, then moved as W_in of the other. The output layer is only shrunk.

    The formulas are those of the authors' code; the papers were not seen. At second hand, the paper
    takes the mean over examples of the |gradient| of each; the code takes that of the minibatch, in
    which gradients cancel. New weights are drawn as the network was initialised; the code draws
    Kaiming uniform. Defaults are those of CPR. CCBP has `curve="exponential"`, `amount=0.012`,
    `threshold=0.95`. Their scripts for Permuted MNIST and CIFAR take an amount of 0.01 and a period
    of 100, that for the slippery humanoid an amount of 0.05.

    ```python
    Algorithm(sgd(0.03), transforms=(CalibratedPartialReset(amount=0.01, period=100),))
    ```
    """

    amount: Float[Array, ""]
    sharpness: Float[Array, ""]
    threshold: Float[Array, ""]
    decay: Float[Array, ""]
    curve: Curve = eqx.field(static=True)
    period: int = eqx.field(static=True, converter=as_int)
    layers: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        *,
        amount: Number = 0.015,
        curve: Curve = "sigmoid",
        sharpness: Number = 16.0,
        threshold: Number = 1.0,
        decay: Number = 0.99,
        period: int = 1000,
        layers: Names | None = None,
    ):
        """**Arguments:**

        - `layers`: the names of the layers whose units move, as in the taps, such as
          `"block_*_mlp"`; `*` stands for any text. By default all whose units are replaceable.

        **Raises:** `ValueError` for an amount or decay outside [0, 1], a sharpness that is not
        positive, a threshold that is not finite, an unknown curve or a period below one."""
        check_name("curve", curve, get_args(Curve))
        check_above("threshold", threshold, -math.inf)
        check_count("period", period)
        self.amount = as_fraction("amount", amount)
        self.sharpness = as_positive("sharpness", sharpness)
        self.threshold = jnp.asarray(threshold, dtype=float)
        self.decay = as_fraction("decay", decay)
        self.curve, self.period = curve, period
        self.layers = optional_names("layers", layers)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _Utilities:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of its units
        has outgoing weights, or for a name in `layers` that fits none of these layers."""
        return tuple(
            jnp.ones(group.size) for group in replaceable_groups(learner.model, self.layers)
        )

    def update(
        self, learner: Learner, state: _Utilities, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _Utilities]:
        """**Raises:** `ValueError` for a period that does not fit the chunk."""
        groups = replaceable_groups(learner.model, self.layers)
        scores = [magnitude(g.incoming, signal.grads) for g in groups]
        utilities = tuple(
            self.decay * u + (1 - self.decay) * s / (jnp.mean(s) + _EPS)
            for u, s in zip(state, scores, strict=True)
        )

        def reset(pair: tuple[Learner, _Utilities]) -> tuple[Learner, _Utilities]:
            learner, utilities = pair
            return self._moved(learner, utilities, key=key), self.init(learner, key=key)

        due = begins_period(signal, self.period)
        return branch(due, reset, (learner, utilities))

    def after_reset(
        self, learner: Learner, state: _Utilities, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> _Utilities:
        """Returns new utilities for new layers."""
        groups = replaceable_groups(learner.model, self.layers)
        return tuple(
            new if all_new(group, reset) else old
            for group, new, old in zip(groups, self.init(learner, key=key), state, strict=True)
        )

    def _moved(self, learner: Learner, utilities: _Utilities, *, key: PRNGKeyArray) -> Learner:
        """The learner whose units have moved towards new ones."""
        model = learner.model
        groups, fresh = replaceable_groups(model, self.layers), fresh_parameters(model, key=key)
        moves = [self.amount * self._transition(u) for u in utilities]
        for group, move in zip(groups, moves, strict=True):
            for entries in group.outgoing:
                weight = entries.where(model)
                kept = (1 - _along(entries, move, weight)) * weight
                model = eqx.tree_at(entries.where, model, kept)
        for group, move in zip(groups, moves, strict=True):
            for entries in group.incoming:
                weight, new = entries.where(model), entries.where(fresh)
                r = _along(entries, move, weight)
                model = eqx.tree_at(entries.where, model, (1 - r) * weight + r * new)
        return replace(learner, model=model)

    def _transition(self, utility: Float[Array, " units"]) -> Float[Array, " units"]:
        """T: which part of `amount` a unit of this utility moves."""
        x = self.sharpness * (self.threshold - utility)
        if self.curve == "linear":
            return jnp.clip(1 + x, 0, 1)
        if self.curve == "exponential":
            return jnp.exp(jnp.minimum(x, 0))
        falling = 2 * jax.nn.sigmoid(x)
        if self.curve == "softplus":
            falling = jax.nn.softplus(x) / math.log(2)
        return jnp.minimum(falling, 1)


def _along(
    entries: Entries, values: Float[Array, " units"], array: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The values of units in a shape and a type that multiply the array of their entries."""
    shape = [1] * array.ndim
    shape[entries.axis] = array.shape[entries.axis]
    return entries.spread(values).reshape(shape).astype(array.dtype)
