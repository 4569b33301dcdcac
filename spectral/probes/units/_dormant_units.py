"""Dormant units."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...models import dormant
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, fractions, sample_units


class DormantUnits(AbstractSamplingProbe):
    """The fraction of units with a mean activity of at most `threshold` times that of their layer.

    The score and threshold are those of Sokar et al. (2023); dead units are among them. Records
    `fraction`, of all hidden units, and `by_layer`, `[layers]`.
    """

    _: KW_ONLY
    threshold: float = eqx.field(static=True, default=0.025)
    num_examples: int = eqx.field(static=True, default=1000)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        layers = sample_units(learner, stream, stream_state, self.num_examples, self.split, key=key)
        return fractions([dormant(features, threshold=self.threshold) for features in layers])
