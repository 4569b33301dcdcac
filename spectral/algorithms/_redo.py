"""ReDo: dormant units are recycled."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._arguments import check_above, check_count
from .._types import Clock, Learner, Signal
from ..models import dormant
from ._base import AbstractTransform
from ._groups import renewed, replaceable_groups


class ReDo(AbstractTransform[None]):
    """Renew the units that `spectral.models.dormant` names (Sokar et al., 2023).

    A unit is dormant when its mean |activation| on the last `window` minibatches, with the present
    parameters, is at most `threshold` times the mean over its layer. It gets newly drawn incoming
    weights, a bias and outgoing weights of zero, and the optimiser forgets it.

    Used under `Every`; the paper acts every 1000 steps, with a threshold of 0.025. A minibatch of
    one example says little about a unit: choose a window.

    ```python
    Every(ReDo(window=50), period=50)
    ```
    """

    threshold: Float[Array, ""]
    window: int = eqx.field(static=True)

    def __init__(self, threshold: float | Float[Array, ""] = 0.025, *, window: int = 1):
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
        taps, _ = signal.taps_of(learner, signal.window(self.window), key=forward_key)
        chosen = [
            (group, dormant(group.by_unit(taps[group.name]), self.threshold))
            for group in replaceable_groups(learner.model)
        ]
        return renewed(learner, chosen, key=draw_key), state
