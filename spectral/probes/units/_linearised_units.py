"""Units that are linear on the data."""

from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import linearised
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions
from ._pre_activations import layers_before_activation


class LinearisedUnits(AbstractSamplingProbe):
    """Records the fraction of units whose pre-activation is positive on each of `num_examples`
    examples, see `models.linearised`: `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    It takes one forward pass. Networks that do not have one `Elementwise` activation for each of
    their layers record NaN.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        layers, reason = layers_before_activation(sampler, key=key)
        return known_fractions(self, [linearised(pre) for pre in layers.values()], reason)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("linearised units")
