"""Ranks of the features."""

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import feature_ranks, vectors_of_features
from .._base._cost import FORWARD
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from .._base._unanswered import unanswered


class FeatureRank(AbstractSamplingProbe):
    """Records how many directions the features of each dense hidden layer span, on `num_examples`
    examples.

    The columns, each `[layers]`, are the ranks that `models.feature_ranks` defines, among them
    `feature_effective_rank` (the exponential of the entropy of the singular values), `srank99` (how
    many singular values hold 99 % of their sum), and `feature_stable_rank`
    (||A||_F^2 / ||A||_2^2). In layers of tokens each token of each example is a row of A. Other
    layers with positions, such as convolutions, are skipped. A network without a dense hidden layer
    records NaN.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        taps = sampler.taps(key=key)
        features = vectors_of_features(sampler.learner.model, taps).values()
        layers = [feature_ranks(layer) for layer in features]
        if not layers:
            reason = f"it needs a dense hidden layer, and the network returns {sorted(taps)}"
            return unanswered(self, reason, dict.fromkeys(feature_ranks(jnp.zeros((1, 1))), (1,)))
        return {name: jnp.stack([ranks[name] for ranks in layers]) for name in layers[0]}

    def quantities(self) -> dict[str, Quantity]:
        # The layers of a network do not collapse together, so a mean would hide the collapse of
        # one.
        smallest = Quantity(
            "effective rank (smallest of the layers)",
            limits=(0.0, None),
            compared=True,
            figure="units",
            reduce="smallest",
            cost=FORWARD,
        )
        return {"feature_effective_rank": smallest}
