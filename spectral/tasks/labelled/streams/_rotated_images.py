"""The same images, rotated."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..._base._no_fresh_task import NoFreshTaskError
from ..rows._augmentation import rotated
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._image_set import check_images, ImageSet
from ._labelled_stream import AbstractLabelledStream, LabelledTask


class RotatedImages(AbstractLabelledStream[Float[Array, ""]]):
    """Every task rotates all images by one angle.

    At a task boundary the angle changes: by a fixed step from task to task, or to an angle drawn
    uniformly from the full circle. The *original* images are rotated, as `rotated` does. Every
    epoch visits all training rows. The task is evaluated on all test rows, rotated by the same
    angle.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50, flat=True)
    stream = tasks.RotatedImages(images, num_tasks=5, step=10.0, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    source: LabelledSource
    step: Float[Array, ""] | None
    num_tasks: int = eqx.field(static=True, converter=as_int)

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
        - `step`: degrees, counter-clockwise, by which the angle grows from task to task, starting
          from 0. `None` draws every angle at random.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, or for a minibatch larger than the training set.
        """
        check_images("images", images, instead="RotatedInputs")
        check_count("num_tasks", num_tasks)
        self.step = None if step is None else jnp.asarray(step, dtype=float)
        self.source = LabelledSource(images, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.zeros(())

    def next_change(
        self, change: Float[Array, ""], clock: Clock, *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        if self.step is None:
            return jax.random.uniform(key, maxval=360.0)
        return (self.step * clock.task) % 360

    def fresh_task(
        self, state: LabelledTask[Float[Array, ""]], clock: Clock, *, key: PRNGKeyArray
    ) -> LabelledTask[Float[Array, ""]]:
        if self.step is not None:
            raise NoFreshTaskError(
                "`step` fixes the angle of every task, so that there is no task that the run will "
                "not see: pass `step=None`, which draws the angles."
            )
        return super().fresh_task(state, clock, key=key)

    def present(self, change: Float[Array, ""], rows: LabelledRows) -> LabelledBatch:
        turned = jax.vmap(rotated, in_axes=(0, None))(rows.inputs, change)
        return LabelledBatch(self.source.inputs(turned), rows.labels)
