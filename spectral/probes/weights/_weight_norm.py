"""Size of the weights."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int
from ..._base._quantity import Quantity
from ..._base._scaling import joint_norm
from ..._types import Learner
from ...models import connected
from ...tasks import AbstractTaskStream
from .._base._probe import AbstractProbe, When


class WeightNorm(AbstractProbe):
    """Records `norm`, the Euclidean norm of all parameters, and `mean_magnitude`, the mean of their
    absolute values. Weights without a connection in a sparse layer count as zeros."""

    _: KW_ONLY
    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        params = eqx.filter(connected(learner.model), eqx.is_inexact_array)
        size = sum(p.size for p in jax.tree.leaves(params))
        return {
            "norm": joint_norm(jax.tree.leaves(params)),
            "mean_magnitude": jnp.asarray(optax.tree_utils.tree_norm(params, ord=1) / size),
        }

    def quantities(self) -> dict[str, Quantity]:
        return {"norm": Quantity("norm of the weights", limits=(0.0, None))}
