"""Size of the weights."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int
from ..._base._quantity import Quantity
from ..._types import Learner
from ...models import mean_weight_magnitude, weight_norm
from ...tasks import AbstractTaskStream
from .._base._probe import AbstractProbe, When


class WeightNorm(AbstractProbe):
    """Records `norm`, the Euclidean norm of all parameters, and `mean_magnitude`, the mean of their
    absolute values. Weights without a connection in a sparse layer count as zeros.

    `weight_growth` computes from a history by which factor the norm grows in each task.
    """

    _: KW_ONLY
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        return {
            "norm": weight_norm(learner.model),
            "mean_magnitude": mean_weight_magnitude(learner.model),
        }

    def quantities(self) -> dict[str, Quantity]:
        return {"norm": Quantity("norm of the weights", limits=(0.0, None), cost=0)}
