"""Ranks of the features."""

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import (
    feature_effective_rank,
    feature_stable_rank,
    srank99,
    vectors_of_features,
)
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe


class FeatureRank(AbstractSamplingProbe):
    """Records how many directions the features of each dense hidden layer span, on `num_examples`
    examples.

    The columns, each `[layers]`, are `feature_effective_rank` (the exponential of the entropy of
    the singular values), `srank99` (how many singular values hold 99 % of their sum), and
    `feature_stable_rank` (||A||_F^2 / ||A||_2^2). In layers of tokens each token of each
    example is a row of A. Other layers with positions, such as convolutions, are skipped.

    **Raises:** `ValueError` when called, if the network has no dense hidden layer.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        taps = sampler.taps(key=key)
        layers = list(vectors_of_features(sampler.learner.model, taps).values())
        if not layers:
            raise ValueError(
                f"The model returned the activations {sorted(taps)}, but `FeatureRank` needs a "
                "dense hidden layer and none of these is one: remove the probe."
            )
        measures = {
            "feature_effective_rank": feature_effective_rank,
            "srank99": srank99,
            "feature_stable_rank": feature_stable_rank,
        }
        return {k: jnp.stack([measure(a) for a in layers]) for k, measure in measures.items()}

    def quantities(self) -> dict[str, Quantity]:
        # The layers of a network do not collapse together, so a mean would hide the collapse of
        # one.
        smallest = Quantity(
            "effective rank (smallest of the layers)",
            limits=(0.0, None),
            compared=True,
            figure="units",
            reduce="smallest",
        )
        return {"feature_effective_rank": smallest}
