"""Dead units."""

from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import dead
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions, marked_layers


class DeadUnits(AbstractSamplingProbe):
    """Records the fraction of units that are 0 on each of `num_examples` examples (Definition
    6.1): `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    A unit with several activations, as with `CReLU`, is dead if all of them are 0. A layer whose
    units cannot be dead, such as GELUs of a transformer (`UnitGroup.never_dead`), is NaN in
    `by_layer` and does not count in `fraction`, which is NaN if there is no other layer.

    ```python
    train_continual(model, stream, algo, probes={"dead": probes.DeadUnits()})
    ```
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        return known_fractions(self, marked_layers(self, sampler, dead, key=key), None)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("dead units", compared=True)
