"""The same images with random labels."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..._base._splits import by_split, Split
from ..sets._image_set import ImageSet
from ._image_rows import ImageRows
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream
from ._limits import check_at_most
from ._loader import Loader


class Labelling(eqx.Module):
    rows: Int[Array, " rows"]  # the training rows of all tasks
    key: PRNGKeyArray  # of the labels of this task


class RandomLabels(AbstractImageStream[Labelling]):
    """In every task the network is to memorise new random labels of the same images.

    At a task boundary every image gets a label drawn uniformly, independent of its content. The
    images do not change. How well a network can still learn shows in its accuracy on the training
    rows, which is the last chunk of `"accuracy"` (before each update). Test rows get labels in the
    same way, so that `"test_accuracy"` is that of guessing; a higher value would show a leak.

    ```python
    images = tasks.load_images("digits")
    stream = tasks.RandomLabels(images, rows=200, loader=tasks.Loader(epochs=30, flat=True))
    ```
    """

    source: ImageSource
    rows: int = eqx.field(static=True)
    num_tasks: int = eqx.field(static=True)

    def __init__(
        self,
        images: ImageSet,
        *,
        rows: int = 1200,
        num_tasks: int = 50,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `rows`: the number of training rows to memorise, drawn once per run.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for a number below one, for more rows than there are, or for a
        minibatch larger than `rows`.
        """
        total = len(images.train_labels)
        check_at_most("rows", rows, total, f"{images.name!r} has {total} training rows")
        check_count("num_tasks", num_tasks)
        self.rows = rows
        self.source = ImageSource(images, loader, smallest_task=rows, largest_task=rows)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Labelling:
        row_key, label_key = jax.random.split(key)
        rows = jax.random.permutation(row_key, len(self.source.images.train_labels))[: self.rows]
        return Labelling(rows, label_key)

    def next_change(self, change: Labelling, clock: Clock, *, key: PRNGKeyArray) -> Labelling:
        return Labelling(change.rows, key)

    def rows_of(
        self, change: Labelling, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        test = jnp.arange(len(self.source.images.test_labels))
        rows = by_split(split, train=change.rows, held_out=test)
        return rows, jnp.asarray(rows.size)

    def present(self, change: Labelling, rows: ImageRows) -> LabelledBatch:
        draw = lambda key: jax.random.randint(key, (), 0, self.source.images.num_classes)
        labels = jax.vmap(draw)(rows.keys(change.key))
        return LabelledBatch(self.source.inputs(rows.pixels), labels)
