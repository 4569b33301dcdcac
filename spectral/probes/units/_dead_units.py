"""Dead units."""

from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import dead
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions


class DeadUnits(AbstractSamplingProbe):
    """Records the fraction of units that are 0 on each of `num_examples` examples (Definition
    6.1): `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    A unit with several activations, as with `CReLU`, is dead if all of them are 0.

    ```python
    train_continual(model, stream, algo, probes={"dead": probes.DeadUnits()})
    ```
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        return known_fractions(self, [dead(layer) for layer in sampler.units(key=key)], None)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("dead units", compared=True)
