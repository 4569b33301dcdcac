"""The same images, with the names of the classes shuffled."""

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


class PermutedLabels(AbstractImageStream[Int[Array, " classes"]]):
    """Every task shuffles which output stands for which class.

    At a task boundary a permutation of the classes is drawn, which is applied to the *original*
    labels (tasks do not compound); images stay as they are. All training rows are visited in every
    epoch, and all test rows, under the same permutation, evaluate the task.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50, flat=True)
    stream = tasks.PermutedLabels(images, num_tasks=5, loader=loader)
    ```
    """

    source: ImageSource
    num_tasks: int = eqx.field(static=True)

    def __init__(self, images: ImageSet, *, num_tasks: int = 100, loader: Loader | None = None):
        """**Arguments:**

        - `images`: from `load_images`.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, or a batch larger than the training set.
        """
        check_count("num_tasks", num_tasks)
        self.source = ImageSource(images, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Int[Array, " classes"]:
        return jnp.arange(self.source.images.num_classes)

    def next_change(
        self, change: Int[Array, " classes"], clock: Clock, *, key: PRNGKeyArray
    ) -> Int[Array, " classes"]:
        return jax.random.permutation(key, self.source.images.num_classes)

    def rows_of(
        self, change: Int[Array, " classes"], split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        return self.source.all_rows(split)

    def present(
        self,
        change: Int[Array, " classes"],
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        return ImageBatch(self.source.shown(pixels), change[labels], None)
