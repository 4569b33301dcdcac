"""A stream whose classes grow from task to task, and a network with BatchNorm for it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import Chunk
from spectral.models import AbstractNetwork, apply_network, BatchNorm, Entries, UnitGroup
from spectral.tasks import AbstractTaskStream, cross_entropy


class BatchNormNetwork(AbstractNetwork):
    first: eqx.nn.Linear
    norm: BatchNorm
    last: eqx.nn.Linear

    def __init__(self, *, key):
        a, b = jax.random.split(key)
        self.first = eqx.nn.Linear(3, 5, key=a)
        self.norm = BatchNorm(5)
        self.last = eqx.nn.Linear(5, 6, key=b)

    def __call__(self, x, state):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, state = self.norm(self.first(x), state)
        x = jax.nn.relu(x)
        return (self.last(x), {"hidden": x}), state

    def units(self):
        draw = jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)
        weights, out = Entries(lambda m: m.first.weight, 0), Entries(lambda m: m.last.weight, 1)
        bias = Entries(lambda m: m.first.bias, 0)
        return (UnitGroup("hidden", 5, (weights,), (bias,), (out,), draw),)

    def fresh(self, *, key):
        return BatchNormNetwork(key=key)


class Rows(eqx.Module):
    inputs: jax.Array
    labels: jax.Array
    seen: jax.Array  # [examples, classes]: which logits count


class GrowingClasses(AbstractTaskStream[Any]):
    """Two classes more in each task; epochs grow with them, up to 8 minibatches."""

    inputs: jax.Array
    labels: jax.Array
    num_tasks: int = eqx.field(static=True, default=3)
    chunks_per_task: int = eqx.field(static=True, default=2)
    minibatches: int = eqx.field(static=True, default=8)

    def init(self, *, key):
        return jnp.asarray(0)

    def begin_task(self, state, clock, *, key):
        return 2 * (clock.task + 1)

    def collect(self, state, learner, clock, *, key):
        order = jax.random.permutation(key, self.labels.shape[0])
        known = order[jnp.argsort(self.labels[order] >= state, stable=True)]
        return state, Chunk(known[:32].reshape(8, 4), in_use=2 * (clock.task + 1)), {}

    def batch(self, state, item):
        seen = jnp.broadcast_to(jnp.arange(6) < state, (item.shape[0], 6))
        return Rows(self.inputs[item], self.labels[item], seen)

    def forward(self, model, model_state, batch, *, key, inference):
        logits, aux = apply_network(model, model_state, batch.inputs, inference=inference, key=key)
        return jnp.where(batch.seen, logits, -1e9), aux

    def criterion(self, outputs, batch):
        loss, accuracy = cross_entropy(outputs, batch.labels)
        return loss, {"online_accuracy": accuracy}

    def sample(self, state, learner, num_examples, split, *, key):
        return self.batch(state, jax.random.permutation(key, self.labels.shape[0])[:num_examples])

    def evaluate(self, state, learner, *, key):
        batch = self.batch(state, jnp.arange(self.labels.shape[0]))
        outputs, _ = self.forward(
            learner.model, learner.model_state, batch, key=key, inference=True
        )
        return {"accuracy": cross_entropy(outputs, batch.labels)[1]}


def growing_classes() -> GrowingClasses:
    labels = jnp.tile(jnp.arange(6), 8)
    noise = jax.random.normal(jax.random.key(3), (48, 3))
    return GrowingClasses(inputs=noise + labels[:, None] - 2.5, labels=labels)
