"""A new probe: one file in the shelf of `probes/` that it belongs to, one row in
`tests/probes/test_probes.py`.

A probe measures at task boundaries. It never changes the training.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from spectral import Learner, Quantity, train_continual
from spectral.algorithms import bp
from spectral.models import MLP
from spectral.probes import AbstractProbe, When
from spectral.tasks import AbstractTaskStream, SlowlyChangingRegression


class LargestWeight(AbstractProbe):
    """Records `largest`, the largest absolute value of all parameters."""

    when: tuple[When, ...] = eqx.field(static=True, default=("start", "end"))
    every: int = eqx.field(static=True, default=1)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        leaves = jax.tree.leaves(eqx.filter(learner.model, eqx.is_inexact_array))
        return {"largest": jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))}

    def quantities(self) -> dict[str, Quantity]:
        # How tables and figures call and draw it.
        return {"largest": Quantity("largest weight", limits=(0.0, None))}


if __name__ == "__main__":
    stream = SlowlyChangingRegression(num_tasks=2, steps_per_task=8)
    model = MLP(stream.in_size, 1, width=3, depth=1, key=jax.random.key(0))
    _, history = train_continual(model, stream, bp(0.01), probes={"size": LargestWeight()})
    print(history["size.end.largest"].shape)  # (2,)
