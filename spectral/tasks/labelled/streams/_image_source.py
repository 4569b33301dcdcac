"""The images of a stream, and how they are visited and shown."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..._base._stream import Split
from ..sets._image_set import ImageSet
from ._loader import Loader, Shown


class ImageSource(eqx.Module):
    """What the streams of one set of labelled images have in common.

    **Arguments:**

    - `images`: from `load_images`.
    - `loader`: by default `Loader()`.
    - `smallest_task`, `largest_task`: training rows of the smallest and of the largest task, by
      default all.
    - `smallest_test`: test rows of the task that has the smallest_task, by default all.

    **Raises:** `ValueError` if the smallest task does not fill a minibatch, or a task has no test
    rows, on which it is evaluated.
    """

    images: ImageSet
    loader: Loader
    shown: Shown
    minibatches: int = eqx.field(static=True)  # in a pass over the largest task
    even: bool = eqx.field(static=True)  # every task fills all of them

    def __init__(
        self,
        images: ImageSet,
        loader: Loader | None,
        *,
        smallest_task: int | None = None,
        largest_task: int | None = None,
        smallest_test: int | None = None,
    ):
        loader = Loader() if loader is None else loader
        rows = len(images.train_labels)
        smallest_task = rows if smallest_task is None else smallest_task
        if smallest_task < loader.minibatch_size:
            raise ValueError(
                f"`minibatch_size` is {loader.minibatch_size}, but the smallest task has "
                f"{smallest_task} training rows: choose at most {smallest_task}."
            )
        tests = len(images.test_labels) if smallest_test is None else smallest_test
        if tests == 0:
            raise ValueError(
                f"{images.name!r} has too few test rows: a task may be left without any to be "
                "evaluated on. Hold some out of every class, take more classes for a task, or "
                "leave out by `order` those that have none."
            )
        whole = (rows if largest_task is None else largest_task) // loader.minibatch_size
        self.images = images
        self.loader = loader
        self.shown = Shown(images, loader)
        self.minibatches = (
            whole if loader.max_minibatches is None else min(whole, loader.max_minibatches)
        )
        self.even = smallest_task // loader.minibatch_size >= self.minibatches

    def all_rows(self, split: Split) -> tuple[Int[Array, " rows"], Int[Array, ""]]:
        """Every row of a split, and their number."""
        rows = len(self.images.train_labels if split == "train" else self.images.test_labels)
        return jnp.arange(rows), jnp.asarray(rows, int)
