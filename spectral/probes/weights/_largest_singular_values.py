"""The largest singular value of each weight matrix."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int
from ..._base._quantity import Quantity
from ..._types import Learner
from ...models import largest_singular_values
from ...tasks import AbstractTaskStream
from .._base._probe import AbstractProbe, When
from .._base._unanswered import unanswered


class LargestSingularValues(AbstractProbe):
    """Records the largest singular value of each weight matrix, see
    `models.largest_singular_values`: `by_matrix`, `[matrices]`, and `largest` of these.

    Spectral regularisation holds them near 1, so neither end is better. It takes a singular value
    decomposition of each matrix and no examples. A network without matrices records NaN.
    """

    _: KW_ONLY
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        values = largest_singular_values(learner.model)
        if values.size == 0:
            reason = "the network has no parameter with two axes"
            return unanswered(self, reason, {"by_matrix": (1,), "largest": ()})
        return {"by_matrix": values, "largest": jnp.max(values)}

    def quantities(self) -> dict[str, Quantity]:
        largest = Quantity(
            "largest singular value of the weights",
            limits=(0.0, None),
            scale="log",
            figure="weights",
            cost=0,
        )
        return {"largest": largest}
