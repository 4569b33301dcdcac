"""ReGraMa: units with small gradients are recycled."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._arguments import check_above, check_count
from .._types import Clock, Learner, Signal
from ._base import AbstractTransform
from ._groups import magnitude, renewed, replaceable_groups


class ReGraMa(AbstractTransform[None]):
    """As `ReDo`, but a unit is inactive when its gradients are small (Liu et al., *Measure
    gradients, not activations!*, 2025).

    The score of a unit is the mean |dL / dw| over its incoming weights, with L the stream's
    criterion on the last `window` minibatches at the present parameters; it is renewed when the
    score is at most `threshold` times the mean over its layer.

    Used under `Every`; published with a period of 1000 steps and a threshold of 0.01.
    """

    threshold: Float[Array, ""]
    window: int = eqx.field(static=True)

    def __init__(self, threshold: float | Float[Array, ""] = 0.01, *, window: int = 1):
        """**Raises:** `ValueError` for a negative threshold or a window below one."""
        check_above("threshold", threshold, 0, strict=False)
        check_count("window", window)
        self.threshold = jnp.asarray(threshold, dtype=float)
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of them has
        outgoing weights."""
        replaceable_groups(learner.model)

    def begin_task(
        self, learner: Learner, state: None, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        return learner, state

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        forward_key, draw_key = jax.random.split(key)
        batch = signal.window(self.window)
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)

        def loss(params):
            now = Learner(eqx.combine(params, static), learner.model_state, learner.optimiser)
            return signal.loss_of(now, batch, key=forward_key)

        grads = jax.grad(loss)(params)
        chosen = []
        for group in replaceable_groups(learner.model):
            score = magnitude(group.incoming, grads)
            chosen.append((group, score <= self.threshold * jnp.mean(score)))
        return renewed(learner, chosen, key=draw_key), state
