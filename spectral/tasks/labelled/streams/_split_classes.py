"""A few classes at a time: Split CIFAR, Continual ImageNet."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from ...._arguments import check_count
from ...._types import Clock
from ..._base._stream import Split
from ..sets._image_set import ImageSet
from ._class_rows import class_order, ClassRows
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream, ImageBatch
from ._loader import Loader


class ClassOrder(eqx.Module):
    order: Int[Array, " some"]  # of the classes, in the present pass over them
    classes: Int[Array, " k"]  # of the present task; label i stands for classes[i]


class SplitClasses(AbstractImageStream[ClassOrder]):
    """Every task tells a few classes of images apart, with the same few outputs.

    At a task boundary the classes change, and with them the images and what the outputs stand for:
    output i is class i of the task. Task t takes the next `classes_per_task` classes of an order
    of all classes, which is drawn from the key of the run or given. When fewer are left, the pass
    over the classes is over and the next begins, in the same order or in a new one.

    The test rows of the task's classes evaluate it. The head of the network is left as it is: put
    `spectral.algorithms.Reset` into the algorithm to change that.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=20, flat=True)
    stream = tasks.SplitClasses(images, num_tasks=5, loader=loader)
    ```
    """

    source: ImageSource
    train_classes: ClassRows
    test_classes: ClassRows
    available: Int[Array, " some"]
    classes_per_task: int = eqx.field(static=True)
    ordered: bool = eqx.field(static=True)  # as `available` is; otherwise an order is drawn
    redraw: bool = eqx.field(static=True)
    num_tasks: int = eqx.field(static=True)

    def __init__(
        self,
        images: ImageSet,
        *,
        classes_per_task: int = 2,
        num_tasks: int | None = None,
        order: tuple[int, ...] | None = None,
        redraw: bool = True,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `classes_per_task`: 2 is Continual ImageNet's.
        - `num_tasks`: by default one pass over the classes.
        - `order`: the classes in the order in which the first pass takes them, all or some; by
          default all of them, in an order that is drawn.
        - `redraw`: draw a new order of the classes for every further pass over them.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for a number below one, for more classes in a task than there are,
        for an order with a class that does not exist or comes twice, for a batch larger than the
        smallest task, or for a task that may have no test rows.
        """
        check_count("classes_per_task", classes_per_task)
        available = class_order(images, order)
        if classes_per_task > len(available):
            whose = f"{images.name!r}" if order is None else "`order`"
            raise ValueError(
                f"`classes_per_task` is {classes_per_task}, but {whose} has {len(available)} "
                "classes: choose at most as many."
            )
        tasks_in_pass = len(available) // classes_per_task
        num_tasks = tasks_in_pass if num_tasks is None else num_tasks
        check_count("num_tasks", num_tasks)
        self.train_classes = ClassRows(images.train_labels, images.num_classes)
        self.test_classes = ClassRows(images.test_labels, images.num_classes)
        self.available = available
        self.ordered = order is not None
        self.classes_per_task = classes_per_task
        self.redraw = redraw
        self.num_tasks = num_tasks
        self.source = ImageSource(
            images,
            loader,
            smallest_task=self.train_classes.smallest_task(classes_per_task, available),
            largest_task=self.train_classes.largest(classes_per_task, available),
            smallest_test=self.test_classes.smallest_task(classes_per_task, available),
        )

    @property
    def out_size(self) -> int:
        """Length of the output vector."""
        return self.classes_per_task

    def first_change(self, *, key: PRNGKeyArray) -> ClassOrder:
        order = self.available if self.ordered else jax.random.permutation(key, self.available)
        return ClassOrder(order, order[: self.classes_per_task])

    def next_change(self, change: ClassOrder, clock: Clock, *, key: PRNGKeyArray) -> ClassOrder:
        k = self.classes_per_task
        place = clock.task % (len(self.available) // k)
        order = change.order
        if self.redraw:
            again = (place == 0) & (clock.task > 0)
            order = jnp.where(again, jax.random.permutation(key, self.available), order)
        return ClassOrder(order, jax.lax.dynamic_slice_in_dim(order, place * k, k))

    def rows_of(
        self, change: ClassOrder, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        rows = self.train_classes if split == "train" else self.test_classes
        return rows.of(change.classes)

    def present(
        self,
        change: ClassOrder,
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        places = jnp.argmax(labels[:, None] == change.classes[None], axis=1)
        return ImageBatch(self.source.shown(pixels), places, None)
