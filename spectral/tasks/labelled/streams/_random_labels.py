"""The same images, with labels that mean nothing."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from ...._arguments import check_count
from ...._types import Clock
from ..._base._stream import Split
from ..sets._image_set import ImageSet
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream, ImageBatch
from ._loader import Loader


class Memory(eqx.Module):
    rows: Int[Array, " rows"]  # training rows that are used at all
    key: PRNGKeyArray  # of the labels of this task


class RandomLabels(AbstractImageStream[Memory]):
    """Every task asks the network to memorise new random labels of the same images.

    At a task boundary every image is given a label that is drawn uniformly, whatever it shows; the
    images stay. How well a network still learns is seen in the accuracy on the training rows: the
    last chunk of `"accuracy"` (before each update). Test rows get labels in the same way, so
    `"test_accuracy"` is that of guessing, which says that nothing leaked.

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
        - `rows`: training rows to be memorised, drawn once per run.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for a number below one, for more rows than there are, or a batch
        larger than `rows`.
        """
        check_count("rows", rows)
        if rows > len(images.train_labels):
            raise ValueError(
                f"`rows` is {rows}, but {images.name!r} has {len(images.train_labels)} training "
                "rows: choose at most as many."
            )
        self.rows = rows
        check_count("num_tasks", num_tasks)
        self.source = ImageSource(images, loader, smallest_task=rows, largest_task=rows)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Memory:
        row_key, label_key = jax.random.split(key)
        rows = jax.random.permutation(row_key, len(self.source.images.train_labels))[: self.rows]
        return Memory(rows, label_key)

    def next_change(self, change: Memory, clock: Clock, *, key: PRNGKeyArray) -> Memory:
        return Memory(change.rows, key)

    def rows_of(
        self, change: Memory, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        rows = change.rows if split == "train" else jnp.arange(len(self.source.images.test_labels))
        return rows, jnp.asarray(rows.size)

    def present(
        self,
        change: Memory,
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        # A function of the row: an image keeps its label for the whole task.
        key = jax.random.fold_in(change.key, 0 if split == "train" else 1)
        keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
        draw = lambda k: jax.random.randint(k, (), 0, self.source.images.num_classes)
        return ImageBatch(self.source.shown(pixels), jax.vmap(draw)(keys), None)
