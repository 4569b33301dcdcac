"""Ranks of the features."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...models import feature_effective_rank, feature_stable_rank, srank99
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, sample_taps


class FeatureRank(AbstractSamplingProbe):
    """How many directions the features of each dense hidden layer span, on `num_examples` examples.

    Records, each `[layers]`: `feature_effective_rank` (the exponential of the entropy of the
    singular values), `srank99` (singular values that hold 99 % of their sum), and
    `feature_stable_rank` (||A||_F^2 / ||A||_2^2). Layers with positions, such as convolutions, are
    left out.
    """

    _: KW_ONLY
    num_examples: int = eqx.field(static=True, default=1000)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        taps = sample_taps(learner, stream, stream_state, self.num_examples, self.split, key=key)
        layers = [features for features in taps.values() if features.ndim == 2]
        if not layers:
            raise ValueError(
                f"`FeatureRank` needs a dense hidden layer, but the taps of this model are "
                f"{sorted(taps)} without any: leave the probe out."
            )
        measures = {
            "feature_effective_rank": feature_effective_rank,
            "srank99": srank99,
            "feature_stable_rank": feature_stable_rank,
        }
        return {k: jnp.stack([measure(a) for a in layers]) for k, measure in measures.items()}
