"""The same inputs with random labels."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..._base._limits import check_at_most
from ..._base._splits import Split
from ..rows._class_labels import check_classes
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class Labelling(eqx.Module):
    rows: Int[Array, " rows"]  # the training rows of all tasks
    key: PRNGKeyArray  # of the labels of this task


class RandomLabels(AbstractLabelledStream[Labelling]):
    """In every task the network is to memorise new random labels of the same inputs.

    At a task boundary every row gets a class drawn uniformly, independent of its inputs. The
    inputs do not change. How well a network can still learn shows in its accuracy on the training
    rows, which is the last chunk of `"accuracy"` (before each update). Test rows get labels in the
    same way, so that `"test_accuracy"` is that of guessing; a higher value would show a leak.

    ```python
    images = tasks.load_images("digits")
    stream = tasks.RandomLabels(images, rows=200, loader=tasks.Loader(epochs=30, flat=True))
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "labels"
    source: LabelledSource
    rows: int = eqx.field(static=True, converter=as_int)
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        data: AbstractLabelledData,
        *,
        rows: int = 1200,
        num_tasks: int = 50,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `data`: images or another labelled set, with classes.
        - `rows`: the number of training rows to memorise, drawn once per run.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for labels that are not classes, for a number below one, for more
        rows than there are, or for a minibatch larger than `rows`.
        """
        check_classes(data)
        total = data.num_rows("train")
        check_at_most("rows", rows, total, f"{data.name!r} has {total} training rows")
        check_count("num_tasks", num_tasks)
        self.rows = rows
        self.source = LabelledSource(data, loader, smallest_task=rows, largest_task=rows)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Labelling:
        row_key, label_key = jax.random.split(key)
        rows = jax.random.permutation(row_key, self.source.data.num_rows("train"))[: self.rows]
        return Labelling(rows, label_key)

    def next_change(self, change: Labelling, clock: Clock, *, key: PRNGKeyArray) -> Labelling:
        return Labelling(change.rows, key)

    def rows_of(
        self, change: Labelling, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        if split == "train":
            return change.rows, jnp.asarray(change.rows.size)
        return self.source.all_rows(split)

    def present(self, change: Labelling, rows: LabelledRows) -> LabelledBatch:
        draw = lambda key: jax.random.randint(key, (), 0, self.out_size)
        labels = jax.vmap(draw)(rows.keys(change.key))
        return LabelledBatch(self.source.inputs(rows.inputs), labels)
