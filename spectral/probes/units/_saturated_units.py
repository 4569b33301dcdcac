"""Units whose activations the loss hardly depends on."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import check_above, check_fraction
from ..._base._quantity import Quantity
from ...curvature import example_gradients, Risk
from ...models import (
    activations_by_unit,
    check_one_activation_each,
    saturated,
    unit_groups,
    with_offsets,
)
from .._base._objection import objection
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions


class SaturatedUnits(AbstractSamplingProbe):
    """Records the fraction of units with |d loss / d h| < `threshold` mean |h| on more than 99 % of
    `num_examples` examples, see `models.saturated`: `fraction`, of all hidden units, and
    `by_layer`, `[layers]`.

    The loss is that of each example, so the number of examples does not move it. The published code
    takes the loss of a batch, and finds more saturated units in larger batches. It takes the
    gradients of all examples in the activations, about two gradients of the mean loss. Networks
    that do not hold one activation for each of their layers record NaN.
    """

    _: KW_ONLY
    threshold: float = eqx.field(static=True, default=1e-4)
    fraction: float = eqx.field(static=True, default=0.99)

    def __check_init__(self):
        check_above("threshold", self.threshold, 0)
        check_fraction("fraction", self.fraction, strict=True)

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        model, taps = sampler.learner.model, sampler.taps(key=key)
        if reason := objection(check_one_activation_each, model):
            return known_fractions(self, [*taps.values()], reason)
        risk = sampler.risk(key=key)
        # A forward pass in the activations: the weights are constants.
        changed = lambda offsets, batch: risk.forward(with_offsets(model, offsets), batch)
        taps = {group.name: taps[group.name] for group in unit_groups(model)}
        zeros = {name: jnp.zeros(tap.shape[1:], tap.dtype) for name, tap in taps.items()}
        of_offsets = Risk(changed, risk.loss, risk.inputs, risk.targets)
        gradients = activations_by_unit(model, example_gradients(of_offsets, zeros))
        return known_fractions(
            self,
            [self._marked(h, gradients[n]) for n, h in activations_by_unit(model, taps).items()],
            None,
        )

    def _marked(self, activations: Any, gradients: Any) -> Array:
        return saturated(activations, gradients, threshold=self.threshold, fraction=self.fraction)

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("saturated units", cost=2)
