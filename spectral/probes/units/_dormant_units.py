"""Dormant units."""

from dataclasses import KW_ONLY

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import dormant
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions


class DormantUnits(AbstractSamplingProbe):
    """Records the fraction of units whose mean activity is at most `threshold` times that of their
    layer: `fraction`, of all hidden units, and `by_layer`, `[layers]`.

    Score and threshold are those of Sokar et al. (2023). Dead units are dormant too.
    """

    _: KW_ONLY
    threshold: float = eqx.field(static=True, default=0.025)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        layers = sampler.units(key=key)
        marked = [dormant(features, threshold=self.threshold) for features in layers]
        return known_fractions(self, marked, None)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("dormant units")
