"""Effective-rank regularisation."""

from dataclasses import replace

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Learner, Signal
from ....models import feature_effective_rank
from ..._base._arguments import as_positive, Number
from ..._base._protocols import AbstractTransform


class EffectiveRank(AbstractTransform[None]):
    """A plain gradient step that raises the effective rank of the features.

    The objective is the mean over layers of the effective rank of the feature matrix F_l (paper,
    Appendix D.1 and Algorithm 1). The rows of F_l are the examples of the last `window`
    minibatches; their features are computed again with the present parameters. The layers are the
    dense hidden layers: those whose activations are vectors. The step has its own learning rate
    `lr`, without momentum or weight decay. This forward pass also updates running statistics.

    Use it under `Periodic(..., period)`, with a period that is a multiple of the window.
    """

    lr: Float[Array, ""]
    window: int = eqx.field(static=True, converter=as_int)

    def __init__(self, lr: Number, window: int):
        """**Raises:** `ValueError` for an `lr` that is not positive or a window below one."""
        self.lr = as_positive("lr", lr)
        check_count("window", window)
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        return None

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a window that does not divide the chunk, or a model without
        a dense hidden layer."""
        batch = signal.window(self.window)

        def objective(model):
            taps, model_state = signal.taps_of(replace(learner, model=model), batch, key=key)
            ranks = [feature_effective_rank(features) for features in _dense(taps)]
            return sum(ranks) / len(ranks), model_state

        grads, model_state = eqx.filter_grad(objective, has_aux=True)(learner.model)
        model = eqx.apply_updates(learner.model, jax.tree.map(lambda g: self.lr * g, grads))
        return replace(learner, model=model, model_state=model_state), state


def _dense(taps: dict[str, Array]) -> list[Float[Array, "examples units"]]:
    """**Raises:** `ValueError` if there is no dense hidden layer."""
    dense = [features for features in taps.values() if features.ndim == 2]
    if not dense:
        raise ValueError(
            f"`EffectiveRank` needs a dense hidden layer, but the model has none; its taps are "
            f"{sorted(taps)}: give the model one, or leave the transform out."
        )
    return dense
