"""The images of a stream, and how they are visited and presented."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..._base._splits import Split
from ..sets._image_set import ImageSet
from ._limits import check_at_most
from ._loader import InputTransform, Loader


class ImageSource(eqx.Module):
    """The images, loader and sizes of a stream. All streams of one image set have one.

    **Arguments:**

    - `images`: from `load_images`.
    - `loader`: by default `Loader()`.
    - `smallest_task`, `largest_task`: the numbers of training rows of the smallest and of the
      largest task, by default those of the set.
    - `smallest_test`: the number of test rows of the task with the fewest, by default that of the
      set.

    **Raises:** `ValueError` if the smallest task does not fill a minibatch, or if a task may have
    no test rows.
    """

    images: ImageSet
    loader: Loader
    inputs: InputTransform
    minibatches: int = eqx.field(static=True)  # in an epoch of the largest task
    even: bool = eqx.field(static=True)  # every task has this number of minibatches

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
        size = loader.minibatch_size
        rows = len(images.train_labels)
        smallest = rows if smallest_task is None else smallest_task
        check_at_most(
            "minibatch_size", size, smallest, f"the smallest task has {smallest} training rows"
        )
        tests = len(images.test_labels) if smallest_test is None else smallest_test
        if tests == 0:
            raise ValueError(
                f"{images.name!r} has too few test rows, so that a task may have none to be "
                "evaluated on: hold out some rows of every class, take more classes in a task, or "
                "pass an `order` without the classes that have no test rows."
            )
        whole = (rows if largest_task is None else largest_task) // size
        limit = loader.max_minibatches
        self.images = images
        self.loader = loader
        self.inputs = InputTransform(images, loader)
        self.minibatches = whole if limit is None else min(whole, limit)
        self.even = smallest // size >= self.minibatches

    def all_rows(self, split: Split) -> tuple[Int[Array, " rows"], Int[Array, ""]]:
        """Returns every row of a split, and their number."""
        rows = len(self.images.part(split)[1])
        return jnp.arange(rows), jnp.asarray(rows, int)
