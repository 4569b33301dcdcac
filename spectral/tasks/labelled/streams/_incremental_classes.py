"""More and more classes: Incremental CIFAR."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from ...._arguments import check_count
from ...._types import Clock
from ..._base._stream import Split
from ..sets._image_set import ImageSet
from ._class_rows import class_order, ClassRows
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream, ImageBatch
from ._loader import Loader


class Seen(eqx.Module):
    order: Int[Array, " some"]
    count: Int[Array, ""]  # classes seen so far: the first of the order
    ends: Int[Array, " tasks"]  # classes seen in each task


class IncrementalClasses(AbstractImageStream[Seen]):
    """Every task adds classes to those that were there before, until all are.

    At a task boundary new classes join, in an order that is given or drawn from the key of the run.
    The network has one output for each class of the whole set; outputs of classes that have not
    been seen yet are masked, and get no gradient. All training rows of the classes seen are visited
    in each of `loader.epochs` epochs, so later tasks take more steps, unless
    `loader.max_minibatches` sets a constant budget; the test rows of the classes seen evaluate the
    task.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(epochs=2, minibatch_size=20, flat=True)
    stream = tasks.IncrementalClasses(images, classes_per_task=2, loader=loader)
    ```
    """

    source: ImageSource
    train_classes: ClassRows
    test_classes: ClassRows
    available: Int[Array, " some"]
    ordered: bool = eqx.field(static=True)  # as `available` is; otherwise an order is drawn
    smallest: int = eqx.field(static=True)
    max_per_task: int = eqx.field(static=True)
    num_tasks: int = eqx.field(static=True)

    def __init__(
        self,
        images: ImageSet,
        *,
        classes_per_task: int = 5,
        max_per_task: int | None = None,
        num_tasks: int | None = None,
        order: tuple[int, ...] | None = None,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `classes_per_task`: new classes in each task; where they do not come out even, the last
          task takes those that are left.
        - `max_per_task`: if given, the number of new classes is drawn for every task between
          `classes_per_task` and this number, uniformly among all ways to reach the whole number
          of classes in `num_tasks` tasks. The dynamic variant has 2 to 8.
        - `num_tasks`: by default as many as it takes to see all classes; with `max_per_task`, at
          the mean number of new classes. Fewer tasks may see a part of the classes only.
        - `order`: the classes in the order in which they join, all or some; by default all of them,
          in an order that is drawn.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for a number below one, for more tasks than have new classes, for
        an order with a class that does not exist or comes twice, for a batch larger than the
        smallest task, or for a first task that may have no test rows.
        """
        largest = classes_per_task if max_per_task is None else max_per_task
        check_count("classes_per_task", classes_per_task)
        check_count("max_per_task", largest, minimum=classes_per_task)
        available = class_order(images, order)
        usual = -(-2 * len(available) // (classes_per_task + largest))
        num_tasks = usual if num_tasks is None else num_tasks
        check_count("num_tasks", num_tasks)
        if classes_per_task * (num_tasks - 1) >= len(available):
            whose = f"{images.name!r}" if order is None else "`order`"
            raise ValueError(
                f"`num_tasks` is {num_tasks} with at least {classes_per_task} new classes in each, "
                f"but {whose} has {len(available)} classes, so that the last would have none: "
                "choose fewer."
            )
        self.train_classes = ClassRows(images.train_labels, images.num_classes)
        self.test_classes = ClassRows(images.test_labels, images.num_classes)
        self.available = available
        self.ordered = order is not None
        self.smallest = classes_per_task
        self.max_per_task = largest
        self.num_tasks = num_tasks
        self.source = ImageSource(
            images,
            loader,
            smallest_task=self.train_classes.smallest_task(classes_per_task, available),
            largest_task=self.train_classes.largest(len(available), available),
            smallest_test=self.test_classes.smallest_task(classes_per_task, available),
        )

    @property
    def chance_accuracy(self) -> None:
        """It falls from task to task."""
        return None

    def first_change(self, *, key: PRNGKeyArray) -> Seen:
        order_key, count_key = jax.random.split(key)
        order = self.available
        if not self.ordered:
            order = jax.random.permutation(order_key, order)
        ends = jnp.minimum(jnp.cumsum(self._new_classes(count_key)), len(self.available))
        return Seen(order, ends[0], ends)

    def next_change(self, change: Seen, clock: Clock, *, key: PRNGKeyArray) -> Seen:
        return Seen(change.order, change.ends[clock.task], change.ends)

    def rows_of(self, change: Seen, split: Split) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        rows = self.train_classes if split == "train" else self.test_classes
        size = len(
            self.source.images.train_labels if split == "train" else self.source.images.test_labels
        )
        seen = jnp.arange(change.order.size) < change.count
        table, count = rows.of(jnp.where(seen, change.order, -1))
        return table[:size], count

    def present(
        self,
        change: Seen,
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        never = jnp.full(self.out_size, change.order.size)
        places = never.at[change.order].set(jnp.arange(change.order.size))
        classes = jnp.broadcast_to(places < change.count, (len(labels), len(places)))
        return ImageBatch(self.source.shown(pixels), labels, classes)

    def _new_classes(self, key: PRNGKeyArray) -> Int[Array, " tasks"]:
        """New classes of each task, uniform among all sequences with the right sum; in the last
        task perhaps more than are left."""
        spread, tasks = self.max_per_task - self.smallest, self.num_tasks
        if spread == 0:
            return jnp.full(tasks, self.smallest)
        extra = max(0, min(len(self.available) - self.smallest * tasks, spread * tasks))
        logs = jnp.asarray(_log_ways(spread, tasks, extra), dtype=float)

        def draw(left: Int[Array, ""], task: Int[Array, ""]):
            choices = jnp.arange(spread + 1)
            rest = left - choices
            # As many ways as the tasks that follow have to use up the rest.
            log_weights = jnp.where(rest >= 0, logs[tasks - 1 - task, rest], -jnp.inf)
            chosen = jax.random.categorical(jax.random.fold_in(key, task), log_weights)
            return left - chosen, self.smallest + chosen

        return jax.lax.scan(draw, jnp.asarray(extra, int), jnp.arange(tasks))[1]


def _log_ways(spread: int, num_tasks: int, total: int) -> np.ndarray:
    """[n, s]: the logarithm of the number of ways to write s as n numbers from 0 to `spread`."""
    ways = np.zeros((num_tasks + 1, total + 1))
    ways[0, 0] = 1
    for n in range(1, num_tasks + 1):
        for choice in range(min(spread, total) + 1):
            ways[n, choice:] += ways[n - 1, : total + 1 - choice]
    with np.errstate(divide="ignore"):
        return np.log(ways)
