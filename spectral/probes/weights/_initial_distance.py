"""How far the weights have moved since the run began."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..._arguments import as_int
from ..._base._quantity import Quantity
from ..._types import Learner
from ...models import weight_distance, weight_norm
from ...tasks import AbstractTaskStream
from .._base._initial import check_initial
from .._base._probe import AbstractProbe, When


class InitialDistance(AbstractProbe):
    """Records how far the parameters theta are from those theta_0 with which the run began.

    The columns are `distance`, ||theta - theta_0||; `relative`, the same over ||theta_0||; and
    `growth`, ||theta|| / ||theta_0||. The last two are NaN if theta_0 is 0. A network that is
    trained further begins with the weights that it brings. It takes no gradients.

    **Raises:** `ValueError` when called without `initial`.
    """

    _: KW_ONLY
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __call__(
        self,
        learner: Learner,
        stream: AbstractTaskStream,
        stream_state: Any,
        *,
        initial: PyTree = None,
        key: PRNGKeyArray,
    ) -> dict[str, Array]:
        check_initial(self, initial)
        size, distance = weight_norm(initial), weight_distance(learner.model, initial)
        relative_to = jnp.where(size > 0, size, jnp.nan)
        return {
            "distance": distance,
            "relative": distance / relative_to,
            "growth": weight_norm(learner.model) / relative_to,
        }

    def quantities(self) -> dict[str, Quantity]:
        options = {"limits": (0.0, None), "better": "lower", "figure": "weights", "cost": 0}
        return {
            "distance": Quantity("distance from the initial weights", **options),
            "growth": Quantity("norm of the weights over the initial one", **options),
        }
