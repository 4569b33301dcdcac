"""Permuted images: every task permutes the pixels of the same images."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ...._arguments import as_int, as_int_or_none, check_count
from ...._base._quantity import Quantity
from ...._types import Aux, Chunk, Clock, Learner
from ..._base._begun_again import begun_again
from ..._base._classification import batch_logits, cross_entropy, LabelledBatch
from ..._base._label_curvature import LabelLoss
from ..._base._label_loss import label_quantities
from ..._base._limits import check_at_most
from ..._base._splits import Split
from ..._base._steps import minibatches_per_chunk
from ..._base._stream import AbstractTaskStream, Metrics
from ..sets._image_set import check_images, ImageSet
from ..sets._pixel_scale import pixel_scale


class Permutation(eqx.Module):
    pixels: Int[Array, " pixels"]  # pixel j of the task is pixel pixels[j] of the image
    order: Int[Array, " visits"]  # training rows of the whole task in the order of their visits
    evaluation: Int[Array, " evaluation"]  # test rows on which the run is evaluated


class PixelRows(eqx.Module):
    """Permuted pixels and their labels. Pixels stay bytes until a gradient step takes them."""

    pixels: UInt8[Array, "*batch pixels"]
    labels: Int[Array, "*batch"]


class PermutedImages(AbstractTaskStream[Permutation]):
    """Online classification of images whose pixels are permuted differently in every task.

    At a task boundary two things change: the order of the training rows, and the permutation, which
    is drawn and applied to the *original* pixels, so that tasks do not compound. Within a task the
    rows are visited in passes, each in a new order, so that the numbers of visits of two rows
    differ by at most one.

    The stream records the online accuracy (`"online_accuracy"`, per chunk: before each update, as
    the paper scores Permuted MNIST) and, at the end of each task, `"test_accuracy"` and
    `"test_loss"` on test rows under the permutation of the task. If there are validation images, it
    also records `"validation_accuracy"` and `"validation_loss"` on all of them. (Paper, section 8
    and Appendix G.)

    ```python
    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=200, steps_per_task=1500)
    ```
    """

    draws_tasks: ClassVar[bool] = True
    num_tasks: int = eqx.field(static=True, converter=as_int)
    chunks_per_task: int = eqx.field(static=True, converter=as_int)
    minibatches: int = eqx.field(static=True, converter=as_int)
    minibatch_size: int = eqx.field(static=True, converter=as_int)
    num_evaluation_examples: int = eqx.field(static=True, converter=as_int_or_none)
    images: ImageSet
    shift: Float[Array, ""]  # inputs are (pixel - shift) / scale
    scale: Float[Array, ""]

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
        - `chunks_per_task`: the number of equal parts of a task. Training metrics are recorded once
          per chunk, and only the permuted pixels of one chunk are in memory at a time.
        - `standardise`: shift and scale the inputs to zero mean and unit variance, with one mean
          and one deviation for all pixels of the training images. `False` scales them to [0, 1],
          as the paper's Permuted MNIST does.
        - `num_evaluation_examples`: the number of test rows, drawn once per run, on which each task
          is evaluated; `None`, or more than there are, takes all. 2000 is the paper's `eval_size`.

        **Raises:** `ValueError` for a number below one, for a minibatch larger than the training
        set, or for chunks that do not divide the steps.
        """
        check_images("images", images, instead="PermutedInputs")
        rows, test_rows = len(images.train_labels), len(images.test_labels)
        check_count("num_tasks", num_tasks)
        available = f"{images.name!r} has {rows} training rows"
        check_at_most("minibatch_size", minibatch_size, rows, available)
        steps = rows // minibatch_size if steps_per_task is None else steps_per_task
        size = test_rows if num_evaluation_examples is None else num_evaluation_examples
        check_count("num_evaluation_examples", size)
        self.num_tasks = num_tasks
        self.chunks_per_task = chunks_per_task
        self.minibatches = minibatches_per_chunk(steps, chunks_per_task)
        self.minibatch_size = minibatch_size
        self.num_evaluation_examples = min(size, test_rows)
        self.images = images
        self.shift, self.scale = pixel_scale(
            images.name,
            images.train_images,
            images.max_value,
            standardise=standardise,
            per_channel=False,
        )

    @property
    def in_size(self) -> int:
        """The length of the input vector."""
        return math.prod(self.images.train_images.shape[1:])

    @property
    def out_size(self) -> int:
        """The length of the output vector."""
        return self.images.num_classes

    @property
    def chance_accuracy(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.out_size

    def quantities(self) -> dict[str, Quantity]:
        return label_quantities(
            self.chance_accuracy,
            validation=self.images.has_validation,
            online=True,
        )

    def init(self, *, key: PRNGKeyArray) -> Permutation:
        visits = self.chunks_per_task * self.minibatches * self.minibatch_size
        test_rows = len(self.images.test_labels)
        return Permutation(
            pixels=jnp.arange(self.in_size),
            order=jnp.zeros(visits, int),
            evaluation=jax.random.permutation(key, test_rows)[: self.num_evaluation_examples],
        )

    def begin_task(self, state: Permutation, clock: Clock, *, key: PRNGKeyArray) -> Permutation:
        rows = len(self.images.train_labels)
        passes = -(-state.order.size // rows)
        pixel_key, row_key = jax.random.split(key)
        permute = lambda k: jax.random.permutation(k, rows)
        order = jax.vmap(permute)(jax.random.split(row_key, passes))
        return Permutation(
            pixels=jax.random.permutation(pixel_key, self.in_size),
            order=order.reshape(-1)[: state.order.size],
            evaluation=state.evaluation,
        )

    def rebuild(
        self, state: Permutation, task: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Permutation:
        return begun_again(self, state, task, key=key)

    def collect(
        self, state: Permutation, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Permutation, Chunk, Metrics]:
        visits = self.minibatches * self.minibatch_size
        rows = jax.lax.dynamic_slice_in_dim(state.order, clock.chunk * visits, visits)
        # One gather for the whole chunk costs 0.3 us an image; one inside each step costs 3 us.
        flat = self._take(state, rows, "train")
        shape = (self.minibatches, self.minibatch_size)
        items = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), flat)
        return state, Chunk(items), {}

    def batch(self, state: Permutation, item: PixelRows) -> LabelledBatch:
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
        return batch_logits(model, model_state, batch, self.out_size, inference=inference, key=key)

    def criterion(
        self, outputs: Float[Array, "examples classes"], batch: LabelledBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        loss, accuracy = cross_entropy(outputs, batch.labels)
        return loss, {"online_accuracy": accuracy}

    def output_loss(self) -> LabelLoss:
        """Returns the loss with derivatives that are exact for confident networks too."""
        return LabelLoss()

    def sample(
        self,
        state: Permutation,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> LabelledBatch:
        """Returns `num_examples` rows of a split without repetition.

        **Raises:** `ValueError` if there are fewer than `num_examples`.
        """
        total = self.images.num_rows(split)
        available = f"the split {split!r} has {total} rows"
        check_at_most("num_examples", num_examples, total, available)
        rows = jax.random.permutation(key, total)[:num_examples]
        return self.batch(state, self._take(state, rows, split))

    def evaluate(self, state: Permutation, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        def scores(rows: Int[Array, " rows"], split: Split, name: str) -> Metrics:
            batch = self.batch(state, self._take(state, rows, split))
            outputs, _ = self.forward(
                learner.model, learner.model_state, batch, key=key, inference=True
            )
            loss, accuracy = cross_entropy(outputs, batch.labels)
            return {f"{name}_accuracy": accuracy, f"{name}_loss": loss}

        metrics = scores(state.evaluation, "held_out", "test")
        if self.images.has_validation:
            every = jnp.arange(self.images.num_rows("validation"))
            metrics |= scores(every, "validation", "validation")
        return metrics

    def _take(self, state: Permutation, rows: Int[Array, " rows"], split: Split) -> PixelRows:
        images, labels = self.images.part(split)
        take = lambda a, i, axis: jnp.take(a, i, axis=axis, mode="clip")
        pixels = take(images.reshape(len(images), -1), rows, 0)
        return PixelRows(take(pixels, state.pixels, 1), take(labels, rows, 0))
