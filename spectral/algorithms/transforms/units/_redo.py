"""ReDo: renewal of dormant units."""

from jaxtyping import PRNGKeyArray

from ...._types import Learner, Signal
from ....models import dormant
from ..._base._arguments import Number
from ..._base._named import Names
from ..._base._unit_groups import replaceable_groups, tapped
from ._recycling import AbstractRecycling, Chosen, Outgoing


class ReDo(AbstractRecycling):
    """Renews the units that `spectral.models.dormant` marks (Sokar et al., 2023).

    A unit is dormant if its mean |activation| on the last `window` minibatches, with the present
    parameters, is at most `threshold` times the mean over its layer. It gets newly drawn incoming
    weights and a bias of zero, and the optimiser forgets it. By default its outgoing weights become
    zero, so the network's function loses no more than the unit contributed. With
    `outgoing="fresh"`, an option of the published code, they become those of a newly initialised
    network.

    Use it under `Periodic`. The paper renews units every 1000 steps with a threshold of 0.025. A
    minibatch of one example says little about a unit: choose a larger window.

    ```python
    Periodic(ReDo(window=50), period=50)
    ```
    """

    def __init__(
        self,
        *,
        threshold: Number = 0.025,
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
        taps, _ = signal.taps_of(learner, signal.window(self.window), key=key)
        return [
            (group, dormant(tapped(group, taps), threshold=self.threshold))
            for group in replaceable_groups(learner.model, self.layers)
        ]
