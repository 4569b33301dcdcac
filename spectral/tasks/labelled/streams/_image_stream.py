"""Epochs, minibatches, masks and evaluation of streams of labelled images."""

import math
from abc import abstractmethod
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ...._base._quantity import Quantity
from ...._types import Aux, Chunk, Clock, Learner
from ..._base._classification import accuracy_quantities, batch_logits, cross_entropy, LabelledBatch
from ..._base._splits import by_split, Split
from ..._base._stream import AbstractTaskStream, Metrics
from ._image_rows import ImageRows
from ._image_source import ImageSource
from ._limits import check_at_most
from ._loader import shuffled


Change = TypeVar("Change")


class ImageTask(eqx.Module, Generic[Change]):
    """The state of a stream of images."""

    change: Change  # how this task differs from the others
    order_key: PRNGKeyArray  # of the order of the rows in this task
    rows: Int[Array, " capacity"]  # training rows of this task, followed by padding
    count: Int[Array, ""]  # training rows of this task
    test_rows: Int[Array, " test_capacity"]
    test_count: Int[Array, ""]


class ImageItem(eqx.Module):
    """The rows of a minibatch, and the keys of their augmentation."""

    rows: Int[Array, "*batch"]
    keys: Key[Array, "*batch"] | None


class AbstractImageStream(AbstractTaskStream[ImageTask[Change]], Generic[Change]):
    """Tasks made from the rows of one set of labelled images.

    A subclass defines what changes with the task, which rows the task has, and how they are
    presented to the network. A task is `loader.epochs` chunks. A chunk is one pass over the rows of
    the task in minibatches; if the number of rows grows from task to task, the minibatches that a
    task does not fill are skipped. The stream records `"accuracy"` (per chunk: on the training
    minibatches, before each update) and, at the end of each task, `"test_accuracy"` and
    `"test_loss"` on all test rows of the task.
    """

    source: eqx.AbstractVar[ImageSource]

    @property
    def chunks_per_task(self) -> int:
        """The number of epochs."""
        return self.source.loader.epochs

    @property
    def minibatches(self) -> int:
        """The number of minibatches in an epoch of the largest task."""
        return self.source.minibatches

    @abstractmethod
    def first_change(self, *, key: PRNGKeyArray) -> Change:
        """Returns the value that `next_change` receives at the first task."""

    @abstractmethod
    def next_change(self, change: Change, clock: Clock, *, key: PRNGKeyArray) -> Change:
        """Returns how the next task differs from the others."""

    def rows_of(
        self, change: Change, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        """Returns the rows of a task, by default all rows of the split, and their number.

        The array has the length of the largest task: the rows of the task come first, then padding.
        """
        return self.source.all_rows(split)

    @abstractmethod
    def present(self, change: Change, rows: ImageRows) -> LabelledBatch:
        """Returns the inputs that the network sees of these rows, and the labels it learns."""

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of an input: `(channels, height, width)`."""
        height, width, channels = self.source.images.train_images.shape[1:]
        return (channels, height, width)

    @property
    def in_size(self) -> int:
        """The number of entries of an input."""
        return math.prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """The length of the output vector."""
        return self.source.images.num_classes

    @property
    def chance_accuracy(self) -> float | None:
        """The accuracy of guessing, or `None` if it differs between tasks."""
        return 1 / self.out_size

    def quantities(self) -> dict[str, Quantity]:
        return accuracy_quantities(self.chance_accuracy)

    def init(self, *, key: PRNGKeyArray) -> ImageTask[Change]:
        change_key, order_key = jax.random.split(key)
        return self._task(self.first_change(key=change_key), order_key)

    def begin_task(
        self, state: ImageTask[Change], clock: Clock, *, key: PRNGKeyArray
    ) -> ImageTask[Change]:
        change_key, order_key = jax.random.split(key)
        return self._task(self.next_change(state.change, clock, key=change_key), order_key)

    def collect(
        self, state: ImageTask[Change], learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[ImageTask[Change], Chunk, Metrics]:
        loader = self.source.loader
        order_key, augmentation_key = jax.random.split(key)
        order_key = order_key if loader.shuffle else state.order_key
        order = shuffled(order_key, state.rows.size, state.count)
        shape = (self.minibatches, loader.minibatch_size)
        rows = state.rows[order[: shape[0] * shape[1]]].reshape(shape)
        augmented = loader.augmentation is not None
        keys = jax.random.split(augmentation_key, shape) if augmented else None
        in_use = jnp.minimum(state.count // loader.minibatch_size, self.minibatches)
        return state, Chunk(ImageItem(rows, keys), in_use=None if self.source.even else in_use), {}

    def batch(self, state: ImageTask[Change], item: ImageItem) -> LabelledBatch:
        return self._batch(state, item.rows, "train", item.keys)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: LabelledBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples classes"], Aux]:
        return batch_logits(model, model_state, batch, self.out_size, inference=inference)

    def criterion(
        self, outputs: Float[Array, "examples classes"], batch: LabelledBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        loss, accuracy = cross_entropy(outputs, batch.labels)
        return loss, {"accuracy": accuracy}

    def sample(
        self,
        state: ImageTask[Change],
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> LabelledBatch:
        """Returns `num_examples` rows of the task without augmentation.

        No row is repeated, unless the task has fewer rows than `num_examples`; then its rows are
        repeated in turn.

        **Raises:** `ValueError` if `num_examples` exceeds the rows of the largest task.
        """
        train, held_out = (state.rows, state.count), (state.test_rows, state.test_count)
        rows, count = by_split(split, train=train, held_out=held_out)
        most = f"no task has more than {rows.size} rows in the split {split!r}"
        check_at_most("num_examples", num_examples, rows.size, most)
        order = shuffled(key, rows.size, count)
        return self._batch(state, rows[order[jnp.arange(num_examples) % count]], split)

    def evaluate(self, state: ImageTask[Change], learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        rows, count = state.test_rows, state.test_count
        size = min(self.source.loader.evaluation_batch_size, rows.size)
        passes = -(-rows.size // size)
        indices = jnp.arange(passes * size).reshape(passes, size)

        def sums(indices: Int[Array, " examples"]) -> Float[Array, "2 examples"]:
            batch = self._batch(state, jnp.take(rows, indices, mode="clip"), "held_out")
            logits, _ = self.forward(
                learner.model, learner.model_state, batch, key=key, inference=True
            )
            each = jax.vmap(lambda z, y: jnp.stack(cross_entropy(z[None], y[None])))
            return jnp.where(indices < count, each(logits, batch.labels).T, 0)

        def used(indices: Int[Array, " examples"]) -> Float[Array, "2 examples"]:
            # If the number of rows grows, most passes of the first tasks contain only padding.
            nothing = lambda indices: jnp.zeros((2, size))
            return jax.lax.cond(indices[0] < count, sums, nothing, indices)

        loss, accuracy = jnp.sum(jax.lax.map(used, indices), axis=(0, 2)) / count
        return {"test_accuracy": accuracy, "test_loss": loss}

    def _task(self, change: Change, order_key: PRNGKeyArray) -> ImageTask[Change]:
        rows, count = self.rows_of(change, "train")
        test_rows, test_count = self.rows_of(change, "held_out")
        return ImageTask(change, order_key, rows, count, test_rows, test_count)

    def _batch(
        self,
        state: ImageTask[Change],
        indices: Int[Array, " examples"],
        split: Split,
        keys: Key[Array, " examples"] | None = None,
    ) -> LabelledBatch:
        images, labels = self.source.images.part(split)
        take = lambda a: jnp.take(a, indices, axis=0, mode="clip")
        pixels = take(images)
        if self.source.loader.augmentation is not None and keys is not None:
            pixels = jax.vmap(self.source.loader.augmentation)(pixels, keys)
        return self.present(state.change, ImageRows(pixels, take(labels), indices, split))
