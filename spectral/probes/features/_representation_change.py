"""How far the features have moved since the run began."""

import dataclasses
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count
from ..._base._quantity import Quantity
from ..._types import Learner
from ...models import representation_change
from ...tasks import AbstractTaskStream, Split
from .._base._boundary import Boundary
from .._base._cost import FORWARD
from .._base._initial import check_initial
from .._base._probe import AbstractProbe, When
from .._base._sampler import Sampler
from .._base._unanswered import unanswered


class RepresentationChange(AbstractProbe):
    """Records by how much the features of `num_examples` examples of the current task have moved
    since the run began, relative to their size, see `models.representation_change`: `change`, the
    mean over layers, and `by_layer`, `[layers]`.

    The features of the same examples are computed with the present network and with the network
    with which the run began, both with the present running statistics. A probe has no memory, and
    the loop keeps no other network, so the change over one task is not measured: in a loop of your
    own call `models.representation_change` before and after. It takes two forward passes. Networks
    that return no activations record NaN.

    **Raises:** `ValueError` if `num_examples` is not a positive integer, or when called without
    `initial`.
    """

    _: KW_ONLY
    num_examples: int = eqx.field(static=True, default=1000, converter=as_int)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __check_init__(self):
        check_count("num_examples", self.num_examples)

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        boundary: Boundary | None = None,
        initial: PyTree = None,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        check_initial(self, initial)
        drawn = key if boundary is None else boundary.sample_key
        now = Sampler(learner, stream, stream_state, self.num_examples, self.split, drawn)
        # What a sample of rollouts holds depends on the learner: both see those of the present one.
        before = dataclasses.replace(now, learner=dataclasses.replace(learner, model=initial))
        pairs = zip(now.taps(key=key).values(), before.taps(key=key).values(), strict=True)
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
