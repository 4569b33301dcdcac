"""Minibatches, loss and evaluation of streams of token sequences."""

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from ..._base._quantity import Quantity
from ..._types import Aux, Chunk, Clock, Learner
from .._base._begun_again import begun_again
from .._base._outputs import network_outputs
from .._base._splits import Split
from .._base._stream import AbstractTaskStream, Metrics
from ._sequence_batch import SequenceBatch, token_sums
from ._sequence_loader import SequenceLoader
from ._sequence_loss import SequenceLoss
from ._sequence_quantities import sequence_quantities


Task = TypeVar("Task")
Tokens = Integer[Array, "examples length"]


class AbstractSequenceStream(AbstractTaskStream[Task], Generic[Task]):
    """Tasks of token sequences, in which each position has a token to predict.

    A network is called with the tokens of one sequence, integers `[context]` from 0 to
    `vocabulary_size - 1`, and returns logits `[context, vocabulary_size]`. The loss is the mean
    softmax cross-entropy in nats over the positions that count (see `SequenceBatch`).

    A subclass defines what a task is, which sequences it has, and how they are presented. The task
    follows from its index and a key, so that `rebuild` can return to it. Tokens stay small integers
    until a minibatch is taken.

    The stream records `"accuracy"` (per chunk: before each update; the loop records `"loss"`) and,
    at the end of each task, `"test_loss"` and `"test_accuracy"` on held-out sequences. If the
    smallest possible loss is known, `"test_excess"` is the test loss minus that loss. Noise of the
    sample can make it negative.
    """

    loader: eqx.AbstractVar[SequenceLoader]
    context: eqx.AbstractVar[int]  # tokens that the network sees at once
    vocabulary_size: eqx.AbstractVar[int]

    @property
    def chunks_per_task(self) -> int:
        """The number of parts of a task."""
        return self.loader.chunks_per_task

    @property
    def minibatches(self) -> int:
        """The number of minibatches in a chunk."""
        return self.loader.minibatches

    @property
    def num_evaluation_examples(self) -> int:
        """The number of held-out sequences on which a task is evaluated."""
        return self.loader.num_evaluation_examples

    @abstractmethod
    def task(self, index: Int[Array, ""], *, key: PRNGKeyArray) -> Task:
        """Returns the task with this index."""

    @abstractmethod
    def draw(self, state: Task, num_examples: int, split: Split, *, key: PRNGKeyArray) -> Tokens:
        """Returns sequences of the task as they are stored, in small integers.

        **Raises:** `ValueError` for a split that does not exist.
        """

    def visited(self, state: Task, chunk: Int[Array, ""], *, key: PRNGKeyArray) -> Tokens:
        """Returns the training sequences of a chunk, minibatch after minibatch; by default new
        ones."""
        return self.draw(state, self.minibatches * self.loader.minibatch_size, "train", key=key)

    def evaluated(self, state: Task, *, key: PRNGKeyArray) -> Tokens:
        """Returns the held-out sequences on which the task is evaluated; by default new ones."""
        return self.draw(state, self.num_evaluation_examples, "held_out", key=key)

    @abstractmethod
    def present(self, state: Task, tokens: Int[Array, "examples length"]) -> SequenceBatch:
        """Returns what the network sees of these sequences, and what it predicts."""

    def floor(self) -> Float[Array, ""] | None:
        """Returns the smallest expected loss of any predictor in nats, or `None` if it is not
        known."""
        return None

    @property
    def note(self) -> str:
        """A sentence about the data, which is shown below tables."""
        return ""

    def quantities(self) -> dict[str, Quantity]:
        return sequence_quantities(
            self.vocabulary_size, excess=self.floor() is not None, note=self.note
        )

    def init(self, *, key: PRNGKeyArray) -> Task:
        return self.task(jnp.asarray(0, int), key=key)

    def begin_task(self, state: Task, clock: Clock, *, key: PRNGKeyArray) -> Task:
        return self.task(clock.task, key=key)

    def rebuild(self, state: Task, task: Int[Array, ""], *, key: PRNGKeyArray) -> Task:
        return begun_again(self, state, task, key=key)

    def collect(
        self, state: Task, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Task, Chunk, Metrics]:
        tokens = self.visited(state, clock.chunk, key=key)
        shape = (self.minibatches, self.loader.minibatch_size)
        return state, Chunk(tokens.reshape(*shape, tokens.shape[1])), {}

    def batch(self, state: Task, item: Tokens) -> SequenceBatch:
        return self.present(state, item.astype(int))

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: SequenceBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples positions classes"], Aux]:
        """**Raises:** `ValueError` if the network has an attribute `context` or `vocabulary_size`
        below that of the stream, or if it does not return logits `[context, vocabulary_size]`."""
        _check_covers("context", self.context, model)
        _check_covers("vocabulary_size", self.vocabulary_size, model)
        shape = (self.context, self.vocabulary_size)
        needed = (
            f"must return logits of shape {shape} for {self.context} tokens: make one with "
            f"`context={self.context}` and `vocabulary_size={self.vocabulary_size}`."
        )
        return network_outputs(
            model, model_state, batch.inputs, shape, needed, inference=inference, key=key
        )

    def criterion(
        self, outputs: Float[Array, "examples positions classes"], batch: SequenceBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns the mean cross-entropy and accuracy of the positions that count. Both are NaN if
        none does."""
        loss, right, weight = token_sums(outputs, batch.labels, batch.counted)
        return loss / weight, {"accuracy": right / weight}

    def output_loss(self) -> SequenceLoss:
        """Returns the loss with derivatives that are exact for confident networks too."""
        return SequenceLoss()

    def sample(
        self,
        state: Task,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> SequenceBatch:
        """Returns `num_examples` sequences of the task, as `draw` does."""
        return self.batch(state, self.draw(state, num_examples, split, key=key))

    def evaluate(self, state: Task, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        sample_key, forward_key = jax.random.split(key)
        tokens = self.evaluated(state, key=sample_key)
        size = min(self.loader.evaluation_batch_size, len(tokens))
        passes = -(-len(tokens) // size)

        def sums(indices: Int[Array, " examples"]) -> Float[Array, "3"]:
            batch = self.batch(state, jnp.take(tokens, indices, axis=0, mode="clip"))
            outputs, _ = self.forward(
                learner.model, learner.model_state, batch, key=forward_key, inference=True
            )
            padding = indices >= len(tokens)
            return token_sums(outputs, batch.labels, jnp.where(padding[:, None], 0, batch.counted))

        indices = jnp.arange(passes * size).reshape(passes, size)
        loss, right, weight = jnp.sum(jax.lax.map(sums, indices), axis=0)
        metrics = {"test_loss": loss / weight, "test_accuracy": right / weight}
        floor = self.floor()
        return metrics if floor is None else metrics | {"test_excess": loss / weight - floor}


def _check_covers(name: str, needed: int, network: Any) -> None:
    """A network that says how many tokens it takes, or knows, must take or know those needed. An
    index beyond its tables would read the last row without any warning."""
    size = getattr(network, name, None)
    if isinstance(size, int) and size < needed:
        raise ValueError(
            f"`{name}` of the network is {size}, but the stream has {needed}: make the network "
            f"with `{name}={needed}`, or give the stream at most {size}."
        )
