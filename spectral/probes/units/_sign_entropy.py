"""The entropy of the signs of pre-activations."""

from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import sign_entropy
from .._base._cost import FORWARD
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import known_fractions
from ._pre_activations import layers_before_activation


class SignEntropy(AbstractSamplingProbe):
    """Records the entropy in bits of the sign of each unit's pre-activation over `num_examples`
    examples, see `models.sign_entropy`: `entropy`, its mean over all hidden units, which is at
    most 1, and `by_layer`, `[layers]`.

    It takes one forward pass. Networks that do not have one `Elementwise` activation for each of
    their layers record NaN.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        layers, reason = layers_before_activation(sampler, key=key)
        entropies = [sign_entropy(pre) for pre in layers.values()]
        return known_fractions(self, entropies, reason, column="entropy")

    def quantities(self) -> dict[str, Quantity]:
        entropy = Quantity(
            "sign entropy",
            unit="bits",
            limits=(0.0, 1.0),
            better="higher",
            figure="units",
            cost=FORWARD,
        )
        return {"entropy": entropy}
