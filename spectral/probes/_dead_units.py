"""Dead units."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from .._types import Learner
from ..models import dead
from ..tasks import AbstractTaskStream, Split
from ._base import AbstractProbe, When
from ._sampling import sample_taps, shares


class DeadUnits(AbstractProbe):
    """The share of units that are silent on every one of `examples` examples (Definition 6.1).

    Records `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    ```python
    train_continual(model, stream, algo, probes={"dead": probes.DeadUnits()})
    ```
    """

    examples: int = eqx.field(static=True, default=1000)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        taps = sample_taps(learner, stream, stream_state, self.examples, self.split, key=key)
        return shares([dead(features) for features in taps.values()])
