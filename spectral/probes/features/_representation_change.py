"""How far the features have moved since the run began."""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._base._quantity import Quantity
from ...models import representation_change
from .._base._cost import FORWARD
from .._base._initial import check_initial
from .._base._sampler import Sampler
from .._base._sampling_probe import AbstractSamplingProbe
from .._base._unanswered import unanswered


class RepresentationChange(AbstractSamplingProbe):
    """Records by how much the features of `num_examples` examples of the current task have moved
    since the run began, relative to their size, see `models.representation_change`: `change`, the
    mean over layers, and `by_layer`, `[layers]`.

    The features of the same examples are computed with the present network and with the network
    with which the run began, both with the present running statistics. A probe has no memory, and
    the loop keeps no other network, so the change over one task is not measured: in a loop of your
    own call `models.representation_change` before and after. It takes two forward passes. Networks
    that return no activations record NaN.

    **Raises:** `ValueError` if `num_examples` is not a positive integer, or when called without
    the network with which the run began, `boundary.initial`.
    """

    def measure(self, sampler: Sampler, *, key: PRNGKeyArray) -> dict[str, Array]:
        check_initial(self, sampler.initial)
        # What a sample of rollouts holds depends on the learner: both see those of the present one.
        first = replace(sampler.learner, model=sampler.initial)
        before = replace(sampler, learner=first)
        pairs = zip(sampler.taps(key=key).values(), before.taps(key=key).values(), strict=True)
        changes = [representation_change(*pair) for pair in pairs]
        if not changes:
            reason = "the network returns no activations"
            return unanswered(self, reason, {"change": (), "by_layer": (1,)})
        layers = jnp.stack(changes)
        return {"change": jnp.mean(layers), "by_layer": layers}

    def quantities(self) -> dict[str, Quantity]:
        change = Quantity(
            "change of the features since the start",
            limits=(0.0, None),
            better="higher",
            cost=2 * FORWARD,
        )
        return {"change": change}
