"""Effective-rank regularisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count
from ...._types import Learner, Signal
from ....models import feature_effective_rank
from ..._base._algorithm import AbstractTransform


class EffectiveRank(AbstractTransform[None]):
    """A plain gradient step that raises the effective rank of the features.

    The objective is the mean over layers of the effective rank of the feature matrix F_l (paper,
    Appendix D.1 and Algorithm 1). The rows of F_l are the examples of the last `window`
    minibatches, whose features are computed again with the present parameters; the layers are those
    whose activations are vectors, that is the dense hidden layers. The step has its own rate `lr`,
    and neither momentum nor weight decay. Running statistics are updated by this pass.

    Used under `Periodic(..., period)`, with a period that is a multiple of the window.
    """

    lr: Float[Array, ""]
    window: int = eqx.field(static=True)

    def __init__(self, lr: float | Float[Array, ""], window: int):
        """**Raises:** `ValueError` for a rate that is not positive or a window below one."""
        check_above("lr", lr, 0)
        check_count("window", window)
        self.lr = jnp.asarray(lr, dtype=float)
        self.window = window

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        return None

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        batch = signal.window(self.window)
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)

        def objective(params):
            now = Learner(eqx.combine(params, static), learner.model_state, learner.optimiser)
            taps, model_state = signal.taps_of(now, batch, key=key)
            ranks = [feature_effective_rank(features) for features in _dense(taps)]
            return -sum(ranks) / len(ranks), model_state

        grads, model_state = jax.grad(objective, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - self.lr * g, params, grads)
        return Learner(eqx.combine(params, static), model_state, learner.optimiser), state


def _dense(taps: dict[str, Array]) -> list[Float[Array, "examples units"]]:
    """**Raises:** `ValueError` if there is no layer of this kind."""
    dense = [features for features in taps.values() if features.ndim == 2]
    if not dense:
        raise ValueError(
            f"`EffectiveRank` needs a dense hidden layer, but the taps of this model are "
            f"{sorted(taps)} without any: give the model one, or leave the transform out."
        )
    return dense
