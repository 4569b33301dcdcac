"""ReGraMa: renewal of units with small gradients."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...._types import Learner, Signal
from ..._base._arguments import Number
from ..._base._named import Names
from ..._base._unit_groups import magnitude, replaceable_groups
from ._recycling import AbstractRecycling, Chosen, Outgoing


class ReGraMa(AbstractRecycling):
    """Like `ReDo`, but a unit is inactive if its gradients are small (Liu et al., *Measure
    gradients, not activations!*, 2025).

    The score of a unit is the mean |dL / dw| over its incoming weights, where L is the stream's
    criterion on the last `window` minibatches with the present parameters. The unit is renewed if
    its score is at most `threshold` times the mean over its layer.

    Use it under `Periodic`; published with a period of 1000 steps and a threshold of 0.01.
    """

    def __init__(
        self,
        *,
        threshold: Number = 0.01,
        window: int = 1,
        outgoing: Outgoing = "zero",
        layers: Names | None = None,
    ):
        """**Arguments:**

        - `layers`: the names of the layers whose units may be renewed, as in the taps, such as
          `"block_*_mlp"`; `*` stands for any text. By default all whose units are replaceable.

        **Raises:** `ValueError` for a negative threshold, a window below one or an unknown
        name."""
        super().__init__(threshold, window, outgoing, layers)

    def inactive(self, learner: Learner, signal: Signal, *, key: PRNGKeyArray) -> Chosen:
        batch = signal.window(self.window)
        loss = lambda model: signal.loss_of(replace(learner, model=model), batch, key=key)
        grads, chosen = eqx.filter_grad(loss)(learner.model), []
        for group in replaceable_groups(learner.model, self.layers):
            score = magnitude(group.incoming, grads)
            chosen.append((group, score <= self.threshold * jnp.mean(score)))
        return chosen
