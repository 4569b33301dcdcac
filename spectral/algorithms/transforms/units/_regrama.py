"""ReGraMa: units with small gradients are recycled."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._types import Learner, Signal
from ..._base._unit_groups import magnitude, replaceable_groups
from ._recycling import AbstractRecycling, Chosen


class ReGraMa(AbstractRecycling):
    """As `ReDo`, but a unit is inactive when its gradients are small (Liu et al., *Measure
    gradients, not activations!*, 2025).

    The score of a unit is the mean |dL / dw| over its incoming weights, with L the stream's
    criterion on the last `window` minibatches at the present parameters; it is renewed when the
    score is at most `threshold` times the mean over its layer.

    Used under `Periodic`; published with a period of 1000 steps and a threshold of 0.01.
    """

    def __init__(
        self,
        *,
        threshold: float | Float[Array, ""] = 0.01,
        window: int = 1,
        outgoing: Literal["zero", "fresh"] = "zero",
    ):
        """**Raises:** `ValueError` for a negative threshold, a window below one or an unknown
        name."""
        super().__init__(threshold, window=window, outgoing=outgoing)

    def inactive(self, learner: Learner, signal: Signal, *, key: PRNGKeyArray) -> Chosen:
        batch = signal.window(self.window)
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)

        def loss(params):
            now = Learner(eqx.combine(params, static), learner.model_state, learner.optimiser)
            return signal.loss_of(now, batch, key=key)

        grads, chosen = jax.grad(loss)(params), []
        for group in replaceable_groups(learner.model):
            score = magnitude(group.incoming, grads)
            chosen.append((group, score <= self.threshold * jnp.mean(score)))
        return chosen
