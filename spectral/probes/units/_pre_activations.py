"""The pre-activations of a learner on the examples of a probe."""

import dataclasses
from typing import Any

from jaxtyping import Array, PRNGKeyArray

from ...models import check_elementwise, pre_activations_from
from .._base._objection import objection
from .._base._sampler import Sampler


def layers_before_activation(
    sampler: Sampler, *, key: PRNGKeyArray
) -> tuple[dict[str, Array], str | None]:
    """Returns the pre-activations of each hidden layer, `[examples, units, *positions]`, by its
    name. If the network does not show them, returns its activations and why."""
    model = sampler.learner.model
    if reason := objection(check_elementwise, model):
        return sampler.taps(key=key), reason

    def taps_of(bare: Any) -> dict[str, Array]:
        learner = dataclasses.replace(sampler.learner, model=bare)
        return dataclasses.replace(sampler, learner=learner).taps(key=key)

    return pre_activations_from(model, taps_of), None
