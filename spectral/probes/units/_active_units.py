"""The fraction of active units."""

from typing import Any

from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import activations_of, active_fraction, silent_below_zero
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions, marked_layers


class ActiveUnits(AbstractSamplingProbe):
    """Records how often units are active on `num_examples` examples, see `models.active_fraction`:
    `fraction`, the mean over all hidden units, and `by_layer`, `[layers]`.

    It takes one forward pass. A unit is active where it is not exactly 0, so networks with
    activations that are not 0 below 0, such as tanh, record NaN. A layer whose units cannot be
    dead, such as the residual stream of a transformer (`UnitGroup.never_dead`), is NaN in
    `by_layer` and does not count in `fraction`.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        if reason := why_always_active(sampler.learner.model):
            return known_fractions(self, sampler.units(key=key), reason)
        return known_fractions(self, marked_layers(self, sampler, active_fraction, key=key), None)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("active units", better="higher")


def why_always_active(model: Any) -> str | None:
    """Why a unit of a network is never inactive; `None` if its activations are 0 below 0."""
    # A network that does not hold its activations is taken at its word, as by `DeadUnits`.
    for activation in activations_of(model):
        if not silent_below_zero(activation):
            return f"the activation {activation} is not 0 below 0, so no unit is ever inactive"
    return None
