"""Size of the gradient."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import optax
from jaxtyping import Array, PRNGKeyArray

from ..._types import Learner
from ...tasks import AbstractTaskStream, Split
from .._base._probe import When
from .._base._sampling import AbstractSamplingProbe, sample_risk


class GradientNorm(AbstractSamplingProbe):
    """Records `norm`, the Euclidean norm of the gradient of the stream's criterion (without
    penalties) over `num_examples` examples, and `loss`, its value there."""

    _: KW_ONLY
    num_examples: int = eqx.field(static=True, default=1000)
    split: Split = eqx.field(static=True, default="train")
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        risk = sample_risk(learner, stream, stream_state, self.num_examples, self.split, key=key)
        value, grads = eqx.filter_value_and_grad(risk)(learner.model)
        return {"norm": optax.tree_utils.tree_norm(grads), "loss": value}
