"""A new algorithm: one file in `algorithms/transforms/units/` or `weights/`, one row in
`ALGORITHMS` of `tests/tables.py`; its recipe is a function in `algorithms/recipes/`.

A transform changes the learner after each step of the optimiser, or when a task begins.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from spectral import Learner, Signal, train_continual
from spectral.algorithms import AbstractTransform, Algorithm, sgd
from spectral.models import MLP
from spectral.tasks import SlowlyChangingRegression


class ClipWeights(AbstractTransform[None]):
    """Clip every parameter to [-limit, limit] after each step."""

    # An array, so that a sweep over limits does not compile again.
    limit: Float[Array, ""]

    def __init__(self, limit: float | Float[Array, ""]):
        self.limit = jnp.asarray(limit, dtype=float)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        return None  # nothing to remember

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        params = jax.tree.map(lambda p: jnp.clip(p, -self.limit, self.limit), params)
        model = eqx.combine(params, static)
        return Learner(model, learner.model_state, learner.optimiser), state


if __name__ == "__main__":
    stream = SlowlyChangingRegression(num_tasks=2, steps_per_task=8)
    model = MLP(stream.in_size, 1, width=3, depth=1, key=jax.random.key(0))
    algo = Algorithm(sgd(0.01), transforms=(ClipWeights(0.5),))
    learner, _ = train_continual(model, stream, algo)
    print(max(float(jnp.max(jnp.abs(p))) for p in jax.tree.leaves(learner.model.layers)))  # 0.5
