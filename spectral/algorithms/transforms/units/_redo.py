"""ReDo: dormant units are recycled."""

from typing import Literal

from jaxtyping import Array, Float, PRNGKeyArray

from ...._types import Learner, Signal
from ....models import dormant
from ..._base._unit_groups import replaceable_groups, tapped
from ._recycling import AbstractRecycling, Chosen


class ReDo(AbstractRecycling):
    """Renew the units that `spectral.models.dormant` names (Sokar et al., 2023).

    A unit is dormant when its mean |activation| on the last `window` minibatches, with the present
    parameters, is at most `threshold` times the mean over its layer. It gets newly drawn incoming
    weights, a bias of zero, and the optimiser forgets it. Its outgoing weights become zero, so that
    the network's function loses no more than the unit contributed; or, with `outgoing="fresh"`, a
    choice of the published code, those of a newly initialised network.

    Used under `Periodic`; the paper acts every 1000 steps, with a threshold of 0.025. A minibatch
    of one example says little about a unit: choose a window.

    ```python
    Periodic(ReDo(window=50), period=50)
    ```
    """

    def __init__(
        self,
        *,
        threshold: float | Float[Array, ""] = 0.025,
        window: int = 1,
        outgoing: Literal["zero", "fresh"] = "zero",
    ):
        """**Raises:** `ValueError` for a negative threshold, a window below one or an unknown
        name."""
        super().__init__(threshold, window=window, outgoing=outgoing)

    def inactive(self, learner: Learner, signal: Signal, *, key: PRNGKeyArray) -> Chosen:
        taps, _ = signal.taps_of(learner, signal.window(self.window), key=key)
        return [
            (group, dormant(tapped(group, taps), threshold=self.threshold))
            for group in replaceable_groups(learner.model)
        ]
