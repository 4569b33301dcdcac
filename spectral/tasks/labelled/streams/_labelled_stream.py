"""Epochs, minibatches, masks and evaluation of streams of labelled data."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ...._base._quantity import Quantity
from ...._types import Aux, Chunk, Clock, Learner
from ..._base._begun_again import begun_again
from ..._base._classification import batch_logits, LabelledBatch
from ..._base._label_curvature import LabelLoss
from ..._base._label_loss import label_loss, label_quantities
from ..._base._limits import check_at_most
from ..._base._splits import by_split, Split
from ..._base._stream import AbstractTaskStream, Metrics
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import shuffled


Change = TypeVar("Change")


class LabelledTask(eqx.Module, Generic[Change]):
    """The state of a stream of labelled data."""

    change: Change  # how this task differs from the others
    order_key: PRNGKeyArray  # of the order of the rows in this task
    rows: Int[Array, " capacity"]  # training rows of this task, followed by padding
    count: Int[Array, ""]  # training rows of this task
    test_rows: Int[Array, " test_capacity"]
    test_count: Int[Array, ""]
    validation_rows: Int[Array, " validation_capacity"] | None  # None: the data have none
    validation_count: Int[Array, ""] | None


class LabelledItem(eqx.Module):
    """The rows of a minibatch, and the keys of their augmentation."""

    rows: Int[Array, "*batch"]
    keys: Key[Array, "*batch"] | None


class AbstractLabelledStream(AbstractTaskStream[LabelledTask[Change]], Generic[Change]):
    """Tasks made from the rows of one labelled set.

    A subclass defines what changes with the task, which rows the task has, and how they are
    presented to the network. A task is `loader.epochs` chunks. A chunk is one pass over the rows of
    the task in minibatches; if the number of rows grows from task to task, the minibatches that a
    task does not fill are skipped. The stream records `"accuracy"` (per chunk: on the training
    minibatches, before each update) and, at the end of each task, `"test_accuracy"` and
    `"test_loss"` on all test rows of the task. If the data have validation rows, it also records
    `"validation_accuracy"` and `"validation_loss"` on all of those of the task. Labels that are
    numbers have no accuracy.
    """

    source: eqx.AbstractVar[LabelledSource]
    # Whether `next_change` reads only the clock, its key and what is constant in a run.
    rebuilds: ClassVar[bool] = False
    # What differs between the tasks, if everything else of each row and the rows are the same.
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = None

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
    def present(self, change: Change, rows: LabelledRows) -> LabelledBatch:
        """Returns the inputs that the network sees of these rows, and the labels it learns."""

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of an input: `(channels, height, width)` for images."""
        return self.source.data.in_shape

    @property
    def in_size(self) -> int:
        """The number of entries of an input."""
        return math.prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """The length of the output vector."""
        return self.source.data.out_size

    @property
    def chance_accuracy(self) -> float | None:
        """The accuracy of guessing; `None` if it differs between tasks, or if the labels are not
        classes."""
        return 1 / self.out_size if self.source.data.has_classes else None

    def quantities(self) -> dict[str, Quantity]:
        return label_quantities(
            self.chance_accuracy,
            numbers=jnp.issubdtype(self.source.data.part("train")[1].dtype, jnp.floating),
            validation=self.source.data.has_validation,
        )

    def init(self, *, key: PRNGKeyArray) -> LabelledTask[Change]:
        change_key, order_key = jax.random.split(key)
        return self._task(self.first_change(key=change_key), order_key)

    def begin_task(
        self, state: LabelledTask[Change], clock: Clock, *, key: PRNGKeyArray
    ) -> LabelledTask[Change]:
        change_key, order_key = jax.random.split(key)
        return self._task(self.next_change(state.change, clock, key=change_key), order_key)

    def rebuild(
        self, state: LabelledTask[Change], task: Int[Array, ""], *, key: PRNGKeyArray
    ) -> LabelledTask[Change]:
        if not self.rebuilds:
            return super().rebuild(state, task, key=key)
        return begun_again(self, state, task, key=key)

    def collect(
        self, state: LabelledTask[Change], learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[LabelledTask[Change], Chunk, Metrics]:
        loader = self.source.loader
        order_key, augmentation_key = jax.random.split(key)
        order_key = order_key if loader.shuffle else state.order_key
        order = shuffled(order_key, state.rows.size, state.count)
        shape = (self.minibatches, loader.minibatch_size)
        rows = state.rows[order[: shape[0] * shape[1]]].reshape(shape)
        augmented = loader.augmentation is not None
        keys = jax.random.split(augmentation_key, shape) if augmented else None
        in_use = jnp.minimum(state.count // loader.minibatch_size, self.minibatches)
        in_use = None if self.source.even else in_use
        return state, Chunk(LabelledItem(rows, keys), in_use=in_use), {}

    def batch(self, state: LabelledTask[Change], item: LabelledItem) -> LabelledBatch:
        return self._batch(state, item.rows, "train", item.keys)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: LabelledBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples outputs"], Aux]:
        return batch_logits(model, model_state, batch, self.out_size, inference=inference, key=key)

    def criterion(
        self, outputs: Float[Array, "examples outputs"], batch: LabelledBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns the softmax cross-entropy of classes, the mean sigmoid cross-entropy of several
        answers, or the mean squared error of numbers; and the accuracy, if there is one."""
        return label_loss(outputs, batch.labels)

    def output_loss(self) -> LabelLoss:
        """Returns the loss with derivatives that are exact for confident networks too."""
        return LabelLoss()

    def sample(
        self,
        state: LabelledTask[Change],
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> LabelledBatch:
        """Returns `num_examples` rows of the task without augmentation.

        No row is repeated, unless the task has fewer rows than `num_examples`; then its rows are
        repeated in turn.

        **Raises:** `ValueError` if `num_examples` exceeds the rows of the largest task, or for
        validation rows that do not exist.
        """
        rows, count = _rows(state, split)
        most = f"no task has more than {rows.size} rows in the split {split!r}"
        check_at_most("num_examples", num_examples, rows.size, most)
        order = shuffled(key, rows.size, count)
        return self._batch(state, rows[order[jnp.arange(num_examples) % count]], split)

    def evaluate(
        self, state: LabelledTask[Change], learner: Learner, *, key: PRNGKeyArray
    ) -> Metrics:
        found = self._scores(state, learner, "held_out", key=key)
        metrics = {f"test_{name}": value for name, value in found.items()}
        if state.validation_rows is not None:
            found = self._scores(state, learner, "validation", key=key)
            metrics |= {f"validation_{name}": value for name, value in found.items()}
        return metrics

    def _scores(
        self, state: LabelledTask[Change], learner: Learner, split: Split, *, key: PRNGKeyArray
    ) -> Metrics:
        """The means of the loss and the accuracy over all rows of the task in a split."""
        rows, count = _rows(state, split)
        size = min(self.source.loader.evaluation_batch_size, rows.size)
        passes = -(-rows.size // size)
        indices = jnp.arange(passes * size).reshape(passes, size)
        numbers = jnp.issubdtype(self.source.data.part(split)[1].dtype, jnp.floating)
        names = ("loss",) if numbers else ("loss", "accuracy")

        def score(outputs: Float[Array, " outputs"], label: Array) -> Float[Array, " scores"]:
            loss, others = label_loss(outputs[None], label[None])
            found = {"loss": loss} | others
            return jnp.stack([found[name] for name in names])

        def sums(indices: Int[Array, " examples"]) -> Float[Array, "scores examples"]:
            batch = self._batch(state, jnp.take(rows, indices, mode="clip"), split)
            outputs, _ = self.forward(
                learner.model, learner.model_state, batch, key=key, inference=True
            )
            return jnp.where(indices < count, jax.vmap(score)(outputs, batch.labels).T, 0)

        def used(indices: Int[Array, " examples"]) -> Float[Array, "scores examples"]:
            # If the number of rows grows, most passes of the first tasks contain only padding.
            nothing = lambda indices: jnp.zeros((len(names), size))
            return jax.lax.cond(indices[0] < count, sums, nothing, indices)

        means = jnp.sum(jax.lax.map(used, indices), axis=(0, 2)) / count
        return dict(zip(names, means, strict=True))

    def _task(self, change: Change, order_key: PRNGKeyArray) -> LabelledTask[Change]:
        rows, count = self.rows_of(change, "train")
        test = self.rows_of(change, "held_out")
        has_validation = self.source.data.has_validation
        validation = self.rows_of(change, "validation") if has_validation else (None, None)
        return LabelledTask(change, order_key, rows, count, *test, *validation)

    def _batch(
        self,
        state: LabelledTask[Change],
        indices: Int[Array, " examples"],
        split: Split,
        keys: Key[Array, " examples"] | None = None,
    ) -> LabelledBatch:
        inputs, labels = self.source.data.part(split)
        take = lambda a: jnp.take(a, indices, axis=0, mode="clip")
        taken = take(inputs)
        if self.source.loader.augmentation is not None and keys is not None:
            taken = jax.vmap(self.source.loader.augmentation)(taken, keys)
        return self.present(state.change, LabelledRows(taken, take(labels), indices, split))


def _rows(state: LabelledTask[Any], split: Split) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
    rows = by_split(
        split, train=state.rows, held_out=state.test_rows, validation=state.validation_rows
    )
    count = by_split(
        split, train=state.count, held_out=state.test_count, validation=state.validation_count
    )
    return rows, count
