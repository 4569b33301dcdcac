"""The same images with permuted classes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..sets._image_set import ImageSet
from ._image_rows import ImageRows
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream
from ._loader import Loader


class PermutedLabels(AbstractImageStream[Int[Array, " classes"]]):
    """Every task changes which output stands for which class.

    At a task boundary a permutation of the classes is drawn and applied to the *original* labels,
    so that tasks do not compound. The images do not change. Every epoch visits all training rows.
    The task is evaluated on all test rows under the same permutation.

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

        **Raises:** `ValueError` for no tasks, or for a minibatch larger than the training set.
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

    def present(self, change: Int[Array, " classes"], rows: ImageRows) -> LabelledBatch:
        return LabelledBatch(self.source.inputs(rows.pixels), change[rows.labels])
