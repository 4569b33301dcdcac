"""A new stream: one file in `tasks/labelled/streams/` (or `rl/`, `sequences/`), one row in
`STREAMS` of `tests/tables.py`.

A stream holds its data in array fields and its sizes in static fields. Its state evolves. Streams
of labelled data derive from `AbstractLabelledStream`, which needs three methods.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from spectral import Aux, Chunk, Clock, Learner, Quantity, train_continual
from spectral.algorithms import bp
from spectral.models import apply_network, MLP
from spectral.tasks import AbstractTaskStream, Metrics, Split


class Batch(eqx.Module):
    inputs: Float[Array, "examples 1"]
    targets: Float[Array, " examples"]


class SineWaves(AbstractTaskStream[Float[Array, ""]]):
    """Regression of sine waves; every task draws a phase, which is the state of the stream."""

    num_tasks: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    chunks_per_task: int = eqx.field(static=True, default=1)

    def init(self, *, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.zeros(())

    def begin_task(
        self, state: Float[Array, ""], clock: Clock, *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        return jax.random.uniform(key, maxval=2 * jnp.pi)

    def collect(
        self, state: Float[Array, ""], learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Chunk, Metrics]:
        return state, Chunk(jax.random.normal(key, (self.minibatches, 4, 1))), {}

    def batch(self, state: Float[Array, ""], item: Float[Array, "examples 1"]) -> Batch:
        return Batch(item, jnp.sin(item[:, 0] + state))

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: Batch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[PyTree, Aux]:
        return apply_network(model, model_state, batch.inputs, inference=inference, key=key)

    def criterion(self, outputs: PyTree, batch: Batch) -> tuple[Float[Array, ""], Metrics]:
        return jnp.mean((outputs[:, 0] - batch.targets) ** 2), {}

    def sample(
        self,
        state: Float[Array, ""],
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> Batch:
        return self.batch(state, jax.random.normal(key, (num_examples, 1)))

    def evaluate(self, state: Float[Array, ""], learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        batch = self.sample(state, learner, 20, "held_out", key=key)
        outputs, _ = self.forward(
            learner.model, learner.model_state, batch, key=key, inference=True
        )
        return {"test_loss": self.criterion(outputs, batch)[0]}

    def quantities(self) -> dict[str, Quantity]:
        # How tables and figures call and draw it; the first one says how well tasks were learned.
        return {"test_loss": Quantity("test loss", better="lower", figure="performance")}


if __name__ == "__main__":
    stream = SineWaves(num_tasks=2, minibatches=8)
    model = MLP(1, 1, width=3, depth=1, key=jax.random.key(0))
    _, history = train_continual(model, stream, bp(0.05))
    print(history["test_loss"].shape)  # (2,)
