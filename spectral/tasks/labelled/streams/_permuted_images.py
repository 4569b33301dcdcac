"""Permuted images: every task shuffles the pixels of the same images in its own way."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ...._arguments import check_count, unknown_name
from ...._types import Aux, Chunk, Clock, Learner
from ....models import apply_network
from ..._base._classification import check_logits, cross_entropy, LabelledBatch
from ..._base._stream import AbstractTaskStream, Metrics, Split
from ..sets._image_set import ImageSet


class PermutedImagesState(eqx.Module):
    permutation: Int[Array, " pixels"]  # pixel j of the task is pixel permutation[j] of the image
    order: Int[Array, " visits"]  # training rows of the whole task, in the order of their use
    evaluation: Int[Array, " evaluation"]  # test rows that evaluate the run


class PixelRows(eqx.Module):
    """Minibatches of permuted pixels; they stay bytes until a gradient step takes them."""

    pixels: UInt8[Array, "*batch pixels"]
    labels: Int[Array, "*batch"]


class PermutedImages(AbstractTaskStream[PermutedImagesState]):
    """Online classification of images whose pixels are permuted anew in every task.

    At a task boundary two things change: the permutation, which is drawn afresh and always applied
    to the *original* pixels (tasks do not compound), and the order of the training rows. Within a
    task the rows are visited pass by pass, each pass in a fresh order, so that no row is seen more
    than once more often than another.

    It records the online accuracy (`"online_accuracy"`, by chunk: before each update, as the paper
    scores Permuted MNIST) and, at the end of each task, `"test_accuracy"` and `"test_loss"` on
    test rows under the task's permutation. (Paper, section 8 and Appendix G.)

    ```python
    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=200, steps_per_task=1500)
    ```
    """

    num_tasks: int = eqx.field(static=True)
    chunks_per_task: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    minibatch_size: int = eqx.field(static=True)
    num_evaluation_examples: int = eqx.field(static=True)
    num_classes: int = eqx.field(static=True)
    shift: Float[Array, ""]  # inputs are (pixel - shift) / scale
    scale: Float[Array, ""]
    train_pixels: UInt8[Array, "train pixels"]
    train_labels: Int[Array, " train"]
    test_pixels: UInt8[Array, "test pixels"]
    test_labels: Int[Array, " test"]

    def __init__(
        self,
        images: ImageSet,
        *,
        num_tasks: int = 800,
        steps_per_task: int | None = None,
        minibatch_size: int = 1,
        chunks_per_task: int = 1,
        standardise: bool = True,
        num_evaluation_examples: int | None = 2000,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `num_tasks`: tasks in the stream.
        - `steps_per_task`: gradient steps in each task; by default one pass over the training rows.
        - `minibatch_size`: rows in a minibatch; 1 is the online setting of the paper.
        - `chunks_per_task`: equal parts into which a task is cut. Training metrics are recorded
          once per chunk, and the permuted pixels of one chunk are held in memory at a time.
        - `standardise`: shift and scale the inputs to zero mean and unit variance, with one mean
          and one deviation for all pixels of the training images. `False` scales them to [0, 1],
          as the paper's Permuted MNIST does.
        - `num_evaluation_examples`: how many test rows, drawn once per run, evaluate each task;
          `None`, or more than there are, takes all. 2000 is the paper's `eval_size`.

        **Raises:** `ValueError` for a size below one, a batch larger than the training set, or
        chunks that do not divide the steps.
        """
        rows = images.train_images.shape[0]
        check_count("num_tasks", num_tasks)
        check_count("minibatch_size", minibatch_size)
        check_count("chunks_per_task", chunks_per_task)
        if minibatch_size > rows:
            raise ValueError(
                f"`minibatch_size` is {minibatch_size}, but {images.name!r} has {rows} training "
                f"rows: choose at most {rows}."
            )
        steps = rows // minibatch_size if steps_per_task is None else steps_per_task
        check_count("steps_per_task", steps)
        if steps % chunks_per_task:
            raise ValueError(
                f"`chunks_per_task` is {chunks_per_task}, but must divide the {steps} steps of a "
                "task: change one of the two."
            )
        test_rows = images.test_images.shape[0]
        size = (
            test_rows
            if num_evaluation_examples is None
            else min(num_evaluation_examples, test_rows)
        )
        check_count("num_evaluation_examples", size)
        self.num_tasks = num_tasks
        self.chunks_per_task = chunks_per_task
        self.minibatches = steps // chunks_per_task
        self.minibatch_size = minibatch_size
        self.num_evaluation_examples = size
        self.num_classes = images.num_classes
        pixels = np.asarray(images.train_images)
        shift, scale = (pixels.mean(), pixels.std()) if standardise else (0.0, images.max_value)
        if scale == 0:
            raise ValueError(
                f"`standardise` needs images that differ, but all pixels of {images.name!r} are "
                f"{shift:g}: pass `standardise=False`."
            )
        self.shift = jnp.asarray(shift, dtype=float)
        self.scale = jnp.asarray(scale, dtype=float)
        self.train_pixels = images.train_images.reshape(rows, -1)
        self.train_labels = images.train_labels
        self.test_pixels = images.test_images.reshape(test_rows, -1)
        self.test_labels = images.test_labels

    @property
    def in_size(self) -> int:
        """Length of the input vector."""
        return self.train_pixels.shape[1]

    @property
    def out_size(self) -> int:
        """Length of the output vector."""
        return self.num_classes

    @property
    def chance_accuracy(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.num_classes

    def init(self, *, key: PRNGKeyArray) -> PermutedImagesState:
        visits = self.chunks_per_task * self.minibatches * self.minibatch_size
        test_rows = self.test_labels.shape[0]
        return PermutedImagesState(
            permutation=jnp.arange(self.in_size),
            order=jnp.zeros(visits, int),
            evaluation=jax.random.permutation(key, test_rows)[: self.num_evaluation_examples],
        )

    def begin_task(
        self, state: PermutedImagesState, clock: Clock, *, key: PRNGKeyArray
    ) -> PermutedImagesState:
        rows = self.train_labels.shape[0]
        passes = -(-state.order.size // rows)
        pixel_key, row_key = jax.random.split(key)
        permute = lambda k: jax.random.permutation(k, rows)
        order = jax.vmap(permute)(jax.random.split(row_key, passes))
        return PermutedImagesState(
            permutation=jax.random.permutation(pixel_key, self.in_size),
            order=order.reshape(-1)[: state.order.size],
            evaluation=state.evaluation,
        )

    def collect(
        self, state: PermutedImagesState, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[PermutedImagesState, Chunk, Metrics]:
        visits = self.minibatches * self.minibatch_size
        rows = jax.lax.dynamic_slice_in_dim(state.order, clock.chunk * visits, visits)
        # One gather for the whole chunk costs 0.3 us an image; one inside each step costs 3 us.
        flat = _take(state, self.train_pixels, self.train_labels, rows)
        shape = (self.minibatches, self.minibatch_size)
        items = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), flat)
        return state, Chunk(items), {}

    def batch(self, state: PermutedImagesState, item: PixelRows) -> LabelledBatch:
        return LabelledBatch((item.pixels.astype(float) - self.shift) / self.scale, item.labels)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: LabelledBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples classes"], Aux]:
        outputs, aux = apply_network(model, model_state, batch.inputs, inference=inference)
        check_logits(outputs, self.num_classes)
        return outputs, aux

    def criterion(
        self, outputs: Float[Array, "examples classes"], batch: LabelledBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        loss, accuracy = cross_entropy(outputs, batch.labels)
        return loss, {"online_accuracy": accuracy}

    def sample(
        self,
        state: PermutedImagesState,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> LabelledBatch:
        """`num_examples` rows without repetition, from the training rows or the test rows.

        **Raises:** `ValueError` if there are fewer than `num_examples`.
        """
        rows_of = {
            "train": (self.train_pixels, self.train_labels),
            "held_out": (self.test_pixels, self.test_labels),
        }
        if split not in rows_of:
            raise ValueError(f"`split`: {unknown_name('Split', split, rows_of)}")
        pixels, labels = rows_of[split]
        check_count("num_examples", num_examples)
        if num_examples > labels.shape[0]:
            raise ValueError(
                f"`num_examples` is {num_examples}, but the split {split!r} has {labels.shape[0]} "
                "rows: ask for fewer."
            )
        rows = jax.random.permutation(key, labels.shape[0])[:num_examples]
        return self.batch(state, _take(state, pixels, labels, rows))

    def evaluate(
        self, state: PermutedImagesState, learner: Learner, *, key: PRNGKeyArray
    ) -> Metrics:
        rows = _take(state, self.test_pixels, self.test_labels, state.evaluation)
        batch = self.batch(state, rows)
        outputs, _ = self.forward(
            learner.model, learner.model_state, batch, key=key, inference=True
        )
        loss, accuracy = cross_entropy(outputs, batch.labels)
        return {"test_accuracy": accuracy, "test_loss": loss}


def _take(
    state: PermutedImagesState,
    pixels: UInt8[Array, "all pixels"],
    labels: Int[Array, " all"],
    rows: Int[Array, " rows"],
) -> PixelRows:
    take = lambda a, i, axis: jnp.take(a, i, axis=axis, mode="clip")
    return PixelRows(take(take(pixels, rows, 0), state.permutation, 1), take(labels, rows, 0))
