"""Units that do the same as another."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import check_above
from ..._base._quantity import Quantity
from ...models import (
    activations_of,
    check_weights_make_units,
    positively_homogeneous,
    twins_by_weights,
    twins_on_data,
    unit_groups,
)
from .._base._cost import FORWARD
from .._base._objection import objection
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import known_fractions


class TwinUnits(AbstractSamplingProbe):
    """Records the fraction of hidden units that are alike a later unit of their layer in three
    ways: of k equal units, k - 1 count.

    - `on_data`: their activations on `num_examples` examples are parallel, see
        `models.twins_on_data`.
    - `incoming`: their incoming weights and biases are parallel, see `models.twins_by_weights`.
    - `incoming_and_outgoing`: their outgoing weights are parallel too, by the same factor. These
        stay twins under gradient descent.

    Each has a column with `_by_layer` at the end of its name, `[layers]`. Under activations that
    are not positively homogeneous, such as tanh, weights must be equal and not only parallel.
    Parallel means a cosine above `threshold`; 0.95 is that of Joudaki et al. (2026), who count
    twins on the data. It takes one forward pass, and products of units with units. By weights,
    networks with normalisation and those that do not describe their units record NaN.
    """

    _: KW_ONLY
    threshold: float = eqx.field(static=True, default=0.95)

    def __check_init__(self):
        check_above("threshold", self.threshold, 0)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        layers = sampler.units(key=key)
        on_data = [twins_on_data(layer, threshold=self.threshold) for layer in layers]
        found = self._columns("on_data", lambda: on_data, None, layers)
        model = sampler.learner.model
        scaled = all(map(positively_homogeneous, activations_of(model)))
        for column, outgoing in (("incoming", False), ("incoming_and_outgoing", True)):

            def marked(outgoing: bool = outgoing) -> list[Array]:
                options = {"threshold": self.threshold, "scaled": scaled, "outgoing": outgoing}
                return [twins_by_weights(model, g, **options) for g in unit_groups(model)]

            check = lambda outgoing=outgoing: [
                check_weights_make_units(group, outgoing=outgoing) for group in unit_groups(model)
            ]
            found |= self._columns(column, marked, objection(check), layers)
        return found

    def _columns(
        self, column: str, marked: Callable[[], list[Any]], reason: str | None, layers: list[Any]
    ) -> dict[str, Array]:
        masks = layers if reason else marked()
        found = known_fractions(self, masks, reason, column=column)
        return {column: found[column], f"{column}_by_layer": found["by_layer"]}

    def quantities(self) -> dict[str, Quantity]:
        labels = {
            "on_data": "twin units on the data",
            "incoming": "twin units by incoming weights",
            "incoming_and_outgoing": "twin units by incoming and outgoing weights",
        }
        options = {"unit": "fraction", "limits": (0.0, 1.0), "figure": "units", "cost": FORWARD}
        return {
            column: Quantity(label, better="lower", **options) for column, label in labels.items()
        }
