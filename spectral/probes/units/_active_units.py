"""The fraction of active units."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import activations_of, active_fraction, Elementwise
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from ._fractions import fraction_quantities, known_fractions


class ActiveUnits(AbstractSamplingProbe):
    """Records how often units are active on `num_examples` examples, see `models.active_fraction`:
    `fraction`, the mean over all hidden units, and `by_layer`, `[layers]`.

    It takes one forward pass. A unit is active where it is not exactly 0, so networks with
    activations that are not 0 below 0, such as tanh, record NaN.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        layers = [active_fraction(layer) for layer in sampler.units(key=key)]
        return known_fractions(self, layers, _objection(sampler.learner.model))

    def quantities(self) -> dict[str, Quantity]:
        return fraction_quantities("active units", better="higher")


def _objection(model: Any) -> str | None:
    # A network that does not hold its activations is taken at its word, as by `DeadUnits`.
    for activation in activations_of(model):
        with jax.ensure_compile_time_eval():
            known = isinstance(activation, Elementwise)
            silent = known and bool(activation(jnp.asarray([-1.0]))[0] == 0)
        if not silent:
            return f"the activation {activation} is not 0 below 0, so no unit is ever inactive"
    return None
