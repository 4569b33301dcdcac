"""Regression on bits that flip slowly: a benchmark that takes minutes and needs no data."""

from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...._arguments import as_int, check_above, check_count
from ...._base._quantity import Quantity
from ...._types import Aux, Chunk, Clock, Learner
from ..._base._outputs import network_outputs
from ..._base._splits import Split
from ..._base._stream import AbstractTaskStream, Metrics


class TargetNetwork(eqx.Module):
    slow: Float[Array, " slow"]  # slow bits of the current task
    weights: Float[Array, "units inputs"]  # +1 or -1
    thresholds: Float[Array, " units"]
    head: Float[Array, " units"]  # +1 or -1


class RegressionBatch(eqx.Module):
    """Inputs and the numbers to predict."""

    inputs: Float[Array, "examples inputs"]
    targets: Float[Array, " examples"]


class SlowlyChangingRegression(AbstractTaskStream[TargetNetwork]):
    """Online regression of a fixed random network on inputs that drift.

    An input consists of `num_slow_bits` bits that are constant within a task, `num_fast_bits` bits
    that are drawn for every example, and a constant 1. The target is the output of a network of
    `num_units` linear threshold units with weights +1 and -1, drawn once per run. Unit i is on if
    its weighted sum of the inputs exceeds inputs * threshold - (its number of negative weights).
    The target is the sum of the units that are on, each times a random sign. At a task boundary one
    slow bit, chosen at random, flips, or with `redraw` all are drawn again. The learner should be
    smaller than the target network (5 hidden units), so that it can never fit all inputs.

    The stream records `"loss"`, the squared error before each update, and at the end of each task
    `"test_loss"` on new examples of the task. (Dohare et al. 2024, Methods. Their code counts
    negative weights in another way and adds a sign to the target: see `docs/benchmarks.md`.)

    ```python
    stream = tasks.SlowlyChangingRegression(num_tasks=5, steps_per_task=100)
    model = models.MLP(stream.in_size, 1, width=5, depth=1, key=jax.random.key(0))
    ```
    """

    num_tasks: int = eqx.field(static=True, converter=as_int)
    chunks_per_task: int = eqx.field(static=True, converter=as_int)
    minibatches: int = eqx.field(static=True, converter=as_int)
    minibatch_size: int = eqx.field(static=True, converter=as_int)
    num_slow_bits: int = eqx.field(static=True, converter=as_int)
    num_fast_bits: int = eqx.field(static=True, converter=as_int)
    num_units: int = eqx.field(static=True, converter=as_int)
    num_evaluation_examples: int = eqx.field(static=True, converter=as_int)
    redraw: bool = eqx.field(static=True)
    threshold: Float[Array, ""]
    # Without `redraw` another change is as far from this task as the next one, and may be the same.
    draws_tasks: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_tasks: int = 100,
        steps_per_task: int = 10_000,
        minibatch_size: int = 1,
        num_slow_bits: int = 15,
        num_fast_bits: int = 5,
        num_units: int = 100,
        threshold: float | Float[Array, ""] = 0.7,
        redraw: bool = False,
        num_evaluation_examples: int = 1000,
    ):
        """**Arguments:** the numbers are those of Dohare et al. `redraw` draws all slow bits again
        at every task boundary, as in the main experiment of their code, instead of flipping one.

        **Raises:** `ValueError` for a number below one, or a threshold that is not positive.
        """
        for name, value in {
            "num_tasks": num_tasks,
            "steps_per_task": steps_per_task,
            "minibatch_size": minibatch_size,
            "num_slow_bits": num_slow_bits,
            "num_fast_bits": num_fast_bits,
            "num_units": num_units,
            "num_evaluation_examples": num_evaluation_examples,
        }.items():
            check_count(name, value)
        check_above("threshold", threshold, 0)
        self.num_tasks = num_tasks
        self.chunks_per_task = 1
        self.minibatches = steps_per_task
        self.minibatch_size = minibatch_size
        self.num_slow_bits = num_slow_bits
        self.num_fast_bits = num_fast_bits
        self.num_units = num_units
        self.num_evaluation_examples = num_evaluation_examples
        self.redraw = redraw
        self.threshold = jnp.asarray(threshold, dtype=float)

    @property
    def in_size(self) -> int:
        """The length of the input vector: all bits and the constant."""
        return self.num_slow_bits + self.num_fast_bits + 1

    @property
    def out_size(self) -> int:
        """The length of the output vector."""
        return 1

    def init(self, *, key: PRNGKeyArray) -> TargetNetwork:
        slow_key, weight_key, head_key = jax.random.split(key, 3)
        signs = lambda k, shape: jax.random.rademacher(k, shape, dtype=float)
        weights = signs(weight_key, (self.num_units, self.in_size))
        return TargetNetwork(
            slow=self._slow_bits(key=slow_key),
            weights=weights,
            thresholds=self.threshold * self.in_size - jnp.sum(weights < 0, axis=1),
            head=signs(head_key, (self.num_units,)),
        )

    def begin_task(self, state: TargetNetwork, clock: Clock, *, key: PRNGKeyArray) -> TargetNetwork:
        if self.redraw:
            changed = self._slow_bits(key=key)
        else:
            bit = jax.random.randint(key, (), 0, self.num_slow_bits)
            changed = state.slow.at[bit].set(1 - state.slow[bit])
        slow = jnp.where(clock.task > 0, changed, state.slow)
        return TargetNetwork(slow, state.weights, state.thresholds, state.head)

    def collect(
        self, state: TargetNetwork, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[TargetNetwork, Chunk, Metrics]:
        return state, Chunk(self._fast_bits(self.minibatches, self.minibatch_size, key=key)), {}

    def batch(self, state: TargetNetwork, item: Bool[Array, "examples fast"]) -> RegressionBatch:
        examples = item.shape[0]
        slow = jnp.broadcast_to(state.slow, (examples, self.num_slow_bits))
        inputs = jnp.concatenate([slow, item.astype(float), jnp.ones((examples, 1))], axis=1)
        on = inputs @ state.weights.T > state.thresholds[None]
        return RegressionBatch(inputs, on.astype(float) @ state.head)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: RegressionBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples 1"], Aux]:
        needed = "there is one number to predict: make one with `out_size=1`."
        return network_outputs(
            model, model_state, batch.inputs, (1,), needed, inference=inference, key=key
        )

    def criterion(
        self, outputs: Float[Array, "examples 1"], batch: RegressionBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        return jnp.mean((outputs[:, 0] - batch.targets) ** 2), {}

    def sample(
        self,
        state: TargetNetwork,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> RegressionBatch:
        """Returns `num_examples` new examples of the task, for either split."""
        check_count("num_examples", num_examples)
        return self.batch(state, self._fast_bits(num_examples, key=key))

    def evaluate(self, state: TargetNetwork, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        sample_key, forward_key = jax.random.split(key)
        batch = self.sample(
            state, learner, self.num_evaluation_examples, "held_out", key=sample_key
        )
        outputs, _ = self.forward(
            learner.model, learner.model_state, batch, key=forward_key, inference=True
        )
        return {"test_loss": self.criterion(outputs, batch)[0]}

    def quantities(self) -> dict[str, Quantity]:
        loss = Quantity("test loss", better="lower", scale="log", figure="performance")
        return {"test_loss": loss, "loss": replace(loss, label="training loss")}

    def _slow_bits(self, *, key: PRNGKeyArray) -> Float[Array, " slow"]:
        return jax.random.bernoulli(key, shape=(self.num_slow_bits,)).astype(float)

    def _fast_bits(self, *shape: int, key: PRNGKeyArray) -> Bool[Array, "... fast"]:
        return jax.random.bernoulli(key, shape=(*shape, self.num_fast_bits))
