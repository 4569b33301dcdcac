"""Units that no gradient reaches."""

from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import activation_derivatives, frozen
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions
from ._pre_activations import layers_before_activation


class FrozenUnits(AbstractSamplingProbe):
    """Records the fraction of units whose activation has the derivative 0 on each of `num_examples`
    examples, see `models.frozen`: `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    It takes one forward pass. Networks that do not have one `Elementwise` activation for each of
    their layers record NaN. `SaturatedUnits` has the form with gradients.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        layers, reason = layers_before_activation(sampler, key=key)
        if reason is None:
            layers = activation_derivatives(sampler.learner.model, layers)
        return known_fractions(self, [frozen(layer) for layer in layers.values()], reason)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("frozen units")
