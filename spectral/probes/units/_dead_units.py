"""Dead units."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...models import dead
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, fractions, sample_units


class DeadUnits(AbstractSamplingProbe):
    """The fraction of units that are silent on every one of `num_examples` examples (Definition
    6.1).

    A unit with several activations, as `CReLU` gives it, is dead when all of them are silent.
    Records `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    ```python
    train_continual(model, stream, algo, probes={"dead": probes.DeadUnits()})
    ```
    """

    _: KW_ONLY
    num_examples: int = eqx.field(static=True, default=1000)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        layers = sample_units(learner, stream, stream_state, self.num_examples, self.split, key=key)
        return fractions([dead(features) for features in layers])
