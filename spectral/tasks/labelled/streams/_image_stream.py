"""What all streams of labelled images share: epochs, minibatches, masks and evaluation."""

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, UInt8

from ...._arguments import check_count, unknown_name
from ...._types import Aux, Chunk, Clock, Learner
from ....models import apply_network
from ..._base._classification import check_logits, cross_entropy
from ..._base._stream import AbstractTaskStream, Metrics, Split
from ._image_source import ImageSource
from ._loader import in_new_order


Change = TypeVar("Change")


class ImageTask(eqx.Module, Generic[Change]):
    """The state of a stream of images."""

    change: Change  # what tells this task from the others
    order_key: PRNGKeyArray  # of this task
    rows: Int[Array, " capacity"]  # training rows of this task, followed by rows that do not count
    count: Int[Array, ""]  # training rows of this task
    test_rows: Int[Array, " test_capacity"]
    test_count: Int[Array, ""]


class ImageItem(eqx.Module):
    """Rows of a minibatch, and the keys of their augmentation."""

    rows: Int[Array, "*batch"]
    keys: Key[Array, "*batch"] | None


class ImageBatch(eqx.Module):
    """Images as the network sees them, their labels, and which logits count."""

    inputs: Float[Array, "examples ..."]
    labels: Int[Array, " examples"]
    classes: Bool[Array, "examples classes"] | None  # None: all


class AbstractImageStream(AbstractTaskStream[ImageTask[Change]], Generic[Change]):
    """Tasks made of the rows of one set of labelled images.

    A stream says what changes with the task, which rows belong to it, and what the network is shown
    of them. A task is `loader.epochs` chunks, a chunk one pass over the rows of the task in
    minibatches; where the number of rows grows, minibatches beyond them are skipped. It records
    `"accuracy"` (by chunk: on the training minibatches, before each update) and, at the end of
    each task, `"test_accuracy"` and `"test_loss"` on all test rows of the task.
    """

    source: eqx.AbstractVar[ImageSource]

    @property
    def chunks_per_task(self) -> int:
        """Epochs."""
        return self.source.loader.epochs

    @property
    def minibatches(self) -> int:
        """Minibatches in an epoch of the largest task."""
        return self.source.minibatches

    @abstractmethod
    def first_change(self, *, key: PRNGKeyArray) -> Change:
        """What `next_change` is given at the first task."""

    @abstractmethod
    def next_change(self, change: Change, clock: Clock, *, key: PRNGKeyArray) -> Change:
        """What tells the task that begins from the others."""

    @abstractmethod
    def rows_of(
        self, change: Change, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        """The rows of a task: as many as the largest task has, those that count first, and the
        number of these."""

    @abstractmethod
    def present(
        self,
        change: Change,
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        """What the network is shown of these images, and the labels that it is to learn."""

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of an input: `(channels, height, width)`."""
        height, width, channels = self.source.images.train_images.shape[1:]
        return (channels, height, width)

    @property
    def in_size(self) -> int:
        """Entries of an input."""
        return self.source.images.train_images[0].size

    @property
    def out_size(self) -> int:
        """Length of the output vector."""
        return self.source.images.num_classes

    @property
    def chance_accuracy(self) -> float | None:
        """The accuracy of guessing, where it is the same in all tasks."""
        return 1 / self.out_size

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
        order_key, augmentation_key = jax.random.split(key)
        order_key = order_key if self.source.loader.shuffle else state.order_key
        order = in_new_order(order_key, state.rows.size, state.count)
        shape = (self.minibatches, self.source.loader.minibatch_size)
        rows = state.rows[order[: shape[0] * shape[1]]].reshape(shape)
        augmented = self.source.loader.augmentation is not None
        keys = jax.random.split(augmentation_key, shape) if augmented else None
        in_use = jnp.minimum(state.count // self.source.loader.minibatch_size, self.minibatches)
        return state, Chunk(ImageItem(rows, keys), in_use=None if self.source.even else in_use), {}

    def batch(self, state: ImageTask[Change], item: ImageItem) -> ImageBatch:
        return self._batch(state, item.rows, "train", item.keys)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: ImageBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples classes"], Aux]:
        logits, aux = apply_network(model, model_state, batch.inputs, inference=inference)
        check_logits(logits, self.out_size)
        if batch.classes is None:
            return logits, aux
        # Finite, so that no product with zero is NaN; far enough for a probability of exactly 0.
        return jnp.where(batch.classes, logits, -1e9), aux

    def criterion(
        self, outputs: Float[Array, "examples classes"], batch: ImageBatch
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
    ) -> ImageBatch:
        """`num_examples` rows of the task, without augmentation and without repetition while there
        are as many; a task of fewer rows repeats them in turn.

        **Raises:** `ValueError` if no task has as many.
        """
        check_count("num_examples", num_examples)
        rows_of = {
            "train": (state.rows, state.count),
            "held_out": (state.test_rows, state.test_count),
        }
        if split not in rows_of:
            raise ValueError(f"`split`: {unknown_name('Split', split, rows_of)}")
        rows, count = rows_of[split]
        if num_examples > rows.size:
            raise ValueError(
                f"`num_examples` is {num_examples}, but no task has more than {rows.size} rows in "
                f"the split {split!r}: ask for fewer."
            )
        order = in_new_order(key, rows.size, count)
        return self._batch(state, rows[order[jnp.arange(num_examples) % count]], split)

    def evaluate(self, state: ImageTask[Change], learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        rows, size = (
            state.test_rows,
            min(self.source.loader.evaluation_batch_size, state.test_rows.size),
        )
        passes = -(-rows.size // size)
        places = jnp.arange(passes * size).reshape(passes, size)

        def sums(places: Int[Array, " examples"]) -> Float[Array, "2 examples"]:
            batch = self._batch(state, jnp.take(rows, places, mode="clip"), "held_out")
            logits, _ = self.forward(
                learner.model, learner.model_state, batch, key=key, inference=True
            )
            each = jax.vmap(lambda z, y: jnp.stack(cross_entropy(z[None], y[None])))
            return jnp.where(places < state.test_count, each(logits, batch.labels).T, 0)

        def used(places: Int[Array, " examples"]) -> Float[Array, "2 examples"]:
            # Where the number of rows grows, most passes of the first tasks would be for nothing.
            nothing = lambda places: jnp.zeros((2, size))
            return jax.lax.cond(places[0] < state.test_count, sums, nothing, places)

        loss, accuracy = jnp.sum(jax.lax.map(used, places), axis=(0, 2)) / state.test_count
        return {"test_accuracy": accuracy, "test_loss": loss}

    def _task(self, change: Change, order_key: PRNGKeyArray) -> ImageTask[Change]:
        rows, count = self.rows_of(change, "train")
        test_rows, test_count = self.rows_of(change, "held_out")
        return ImageTask(change, order_key, rows, count, test_rows, test_count)

    def _batch(
        self,
        state: ImageTask[Change],
        rows: Int[Array, " examples"],
        split: Split,
        keys: Key[Array, " examples"] | None = None,
    ) -> ImageBatch:
        train = split == "train"
        pixels = self.source.images.train_images if train else self.source.images.test_images
        labels = self.source.images.train_labels if train else self.source.images.test_labels
        take = lambda a: jnp.take(a, rows, axis=0, mode="clip")
        pixels = take(pixels)
        if self.source.loader.augmentation is not None and keys is not None:
            pixels = jax.vmap(self.source.loader.augmentation)(pixels, keys)
        return self.present(state.change, pixels, rows, take(labels), split)
