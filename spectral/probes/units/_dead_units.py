"""Dead units."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...models import dead
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, sample_units, shares


class DeadUnits(AbstractSamplingProbe):
    """The share of units that are silent on every one of `examples` examples (Definition 6.1).

    A unit with several activations, as `CReLU` gives it, is dead when all of them are silent.
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
        layers = sample_units(learner, stream, stream_state, self.examples, self.split, key=key)
        return shares([dead(features) for features in layers])
