"""The same images, turned."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ...._arguments import check_count
from ...._types import Clock
from ..._base._stream import Split
from ..sets._image_set import ImageSet
from ._augmentation import rotated
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream, ImageBatch
from ._loader import Loader


class RotatedImages(AbstractImageStream[Float[Array, ""]]):
    """Every task turns all images by an angle of its own.

    At a task boundary the angle changes: by a fixed step from task to task, or to one that is drawn
    uniformly from the full circle. The *original* images are turned, about their centre, with the
    nearest pixel taken and black where there is none. All training rows are visited in every epoch,
    and all test rows, turned alike, evaluate the task.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50, flat=True)
    stream = tasks.RotatedImages(images, num_tasks=5, step=10.0, loader=loader)
    ```
    """

    source: ImageSource
    step: Float[Array, ""] | None
    num_tasks: int = eqx.field(static=True)

    def __init__(
        self,
        images: ImageSet,
        *,
        num_tasks: int = 100,
        step: float | Float[Array, ""] | None = None,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `num_tasks`: tasks in the stream.
        - `step`: degrees by which each task is turned further than the last, counter-clockwise from
          0; `None` draws every angle at random.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, or a batch larger than the training set.
        """
        self.step = None if step is None else jnp.asarray(step, dtype=float)
        check_count("num_tasks", num_tasks)
        self.source = ImageSource(images, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.zeros(())

    def next_change(
        self, change: Float[Array, ""], clock: Clock, *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        if self.step is None:
            return jax.random.uniform(key, maxval=360.0)
        return (self.step * clock.task) % 360

    def rows_of(
        self, change: Float[Array, ""], split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        return self.source.all_rows(split)

    def present(
        self,
        change: Float[Array, ""],
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        turned = jax.vmap(rotated, in_axes=(0, None))(pixels, change)
        return ImageBatch(self.source.shown(turned), labels, None)
