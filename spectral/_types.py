"""Types that every part of the package shares."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ._base._optimiser import Optimiser
from ._base._readable import readable


class Clock(eqx.Module):
    """The position of a step in the run. The loop builds it from its own counters.

    Components with a cadence branch on this clock instead of keeping their own counter. It is
    equal for all members of an ensemble, so the branch stays a branch under `jax.vmap`.
    """

    step: Int[Array, ""]  # slots for gradient steps since the start of the run
    step_in_chunk: Int[Array, ""]  # slots since the start of the chunk
    chunk: Int[Array, ""]  # index within the task
    task: Int[Array, ""]


class Learner(eqx.Module):
    """Everything that an algorithm may change."""

    model: PyTree
    model_state: eqx.nn.State | None  # running statistics of BatchNorm; None for most networks
    optimiser: Optimiser

    __repr__ = readable


class Aux(eqx.Module):
    """The results of a forward pass besides the outputs."""

    taps: dict[str, Array]  # layer name -> activations of a batch, [examples, units, ...]
    model_state: eqx.nn.State | None


class Chunk(eqx.Module):
    """The data of one chunk: an epoch, a slice of an online stream, or a rollout's minibatches."""

    items: PyTree  # leaves [minibatches, examples, ...]
    _: KW_ONLY
    in_use: Int[Array, ""] | None = None  # how many minibatches to train on; None means all

    @property
    def minibatches(self) -> int:
        """The number of minibatches, in use or not."""
        return jax.tree.leaves(self.items)[0].shape[0]

    def random_minibatch(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """Returns the index of a minibatch in use, each with the same probability."""
        used = self.minibatches if self.in_use is None else self.in_use
        return jax.random.randint(key, (), 0, used)


class TaskStart(eqx.Module):
    """What a transform may know when a task begins, before its first gradient. Read-only.

    `AbstractTransform.begin_task` receives it as `start`: for example, the loss of the network on
    100 examples of the new task is

        start.loss_of(learner, start.sample(100, key=key), key=other_key)
    """

    clock: Clock
    draw: Callable  # the stream's `sample` in this task: (num_examples, split) -> batch
    forward: Callable  # the stream's forward pass
    criterion: Callable  # the stream's criterion: (outputs, batch) -> (loss, metrics)
    measure: Callable  # (probe, learner) -> what it measures here

    def sample(self, num_examples: int, *, key: PRNGKeyArray) -> PyTree:
        """Returns `num_examples` training examples of the task as one batch. In reinforcement
        learning they are steps of a new rollout of the policy before the task.

        Nothing is computed for a task in which a transform does not call it.

        **Raises:** `ValueError` if the task has fewer examples.
        """
        return self.draw(num_examples, "train", key=key)

    def loss_of(self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """The stream's criterion on `batch`, as `Signal.loss_of`."""
        return _loss_of(self, learner, batch, key=key)

    def measured(self, probe: Any, learner: Learner, *, key: PRNGKeyArray) -> dict[str, Array]:
        """Returns what a probe measures on `learner` at the start of this task, on the examples
        that all probes of the run see.

        **Raises:** `TypeError` for a probe that trains.
        """
        return self.measure(probe, learner, key=key)


class Step(eqx.Module):
    """What a penalty may know about a gradient step before its gradient is taken. Read-only."""

    clock: Clock
    model: PyTree  # before the step
    model_state: eqx.nn.State | None  # before the step
    batch: PyTree
    chunk: Chunk
    take: Callable[[PyTree], PyTree]  # item of the chunk -> batch
    forward: Callable  # the stream's forward pass
    criterion: Callable  # the stream's criterion: (outputs, batch) -> (loss, metrics)
    reference: Int[Array, ""]  # a minibatch of the chunk, each with the same probability
    key: PRNGKeyArray  # the same when the step has been taken; every penalty has another

    @property
    def minibatches(self) -> int:
        """The number of minibatches in the chunk."""
        return self.chunk.minibatches

    def window(self, num_minibatches: int) -> PyTree:
        """The last `num_minibatches` minibatches of the chunk, up to and including this one, as one
        batch.

        Call it only after `num_minibatches` steps of the chunk, that is, under a cadence whose
        period is a multiple of `num_minibatches`. If fewer than `num_minibatches` are in use, they
        are repeated cyclically.

        **Raises:** `ValueError` if `num_minibatches` does not divide the number of minibatches in
        the chunk.
        """
        if num_minibatches < 1 or self.minibatches % num_minibatches:
            raise ValueError(
                f"A window of {num_minibatches} minibatches does not fit a chunk of "
                f"{self.minibatches}: choose a divisor of {self.minibatches}, or change the length "
                "of the chunk."
            )
        start = self.clock.step_in_chunk + 1 - num_minibatches

        def block(leaf: Array) -> Array:
            if self.chunk.in_use is None:
                rows = jax.lax.dynamic_slice_in_dim(leaf, start, num_minibatches)
            else:
                rows = leaf[(start + jnp.arange(num_minibatches)) % self.chunk.in_use]
            return rows.reshape(num_minibatches * leaf.shape[1], *leaf.shape[2:])

        return self.take(jax.tree.map(block, self.chunk.items))

    def reference_batch(self) -> PyTree:
        """Returns the batch of the minibatch `reference`."""
        return self.take(jax.tree.map(lambda leaf: leaf[self.reference], self.chunk.items))

    def outputs_of(self, model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> PyTree:
        """Returns the outputs of a model with the structure of `model` for a batch, in training
        mode."""
        return self._passed(model, batch, key)[0]

    def taps_of(self, model: PyTree, batch: PyTree, *, key: PRNGKeyArray) -> dict[str, Array]:
        """Returns the activations of a model with the structure of `model` for a batch, in training
        mode."""
        return self._passed(model, batch, key)[1].taps

    def _passed(self, model: PyTree, batch: PyTree, key: PRNGKeyArray) -> tuple[PyTree, Aux]:
        # A pass invalidates the state that it receives, so it receives a copy.
        model_state = jax.tree.map(lambda x: x, self.model_state)
        return self.forward(model, model_state, batch, key=key, inference=False)


class Signal(eqx.Module):
    """What a transform may know about the gradient step that was just taken. Read-only."""

    step: Step
    loss: Float[Array, ""]  # the stream's criterion before the step, without penalties
    metrics: dict[str, Array]  # of the criterion
    taps: dict[str, Array]  # activations of the batch before the step
    objective: Float[Array, ""]  # criterion plus penalties
    grads: PyTree  # the gradient of the objective, as the optimiser received it

    @property
    def clock(self) -> Clock:
        """The position of the step in the run."""
        return self.step.clock

    @property
    def batch(self) -> PyTree:
        """The minibatch of the step."""
        return self.step.batch

    @property
    def chunk(self) -> Chunk:
        """The chunk that the minibatch is from."""
        return self.step.chunk

    @property
    def minibatches(self) -> int:
        """The number of minibatches in the chunk."""
        return self.step.minibatches

    def window(self, num_minibatches: int) -> PyTree:
        """The last `num_minibatches` minibatches of the chunk as one batch, see `Step.window`."""
        return self.step.window(num_minibatches)

    def taps_of(
        self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[dict[str, Array], eqx.nn.State | None]:
        """Run the current model of `learner` on `batch` in training mode. Returns the activations
        and the model state (running statistics) after that pass."""
        _, aux = self.step.forward(
            learner.model, learner.model_state, batch, key=key, inference=False
        )
        return aux.taps, aux.model_state

    def loss_of(self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """The stream's criterion on `batch` for the current model of `learner`, in training mode
        and without penalties. It is differentiable with respect to `learner.model`."""
        return _loss_of(self.step, learner, batch, key=key)


def _loss_of(
    part: TaskStart | Step, learner: Learner, batch: PyTree, *, key: PRNGKeyArray
) -> Float[Array, ""]:
    outputs, _ = part.forward(learner.model, learner.model_state, batch, key=key, inference=False)
    return part.criterion(outputs, batch)[0]
