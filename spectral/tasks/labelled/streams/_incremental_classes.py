"""A growing number of classes: Incremental CIFAR."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int, as_int_or_none, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..._base._splits import Split
from ..rows._class_rows import ClassPool
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class SeenClasses(eqx.Module):
    order: Int[Array, " some"]
    count: Int[Array, ""]  # the first `count` classes of the order have been seen
    ends: Int[Array, " tasks"]  # `count` in each task


class IncrementalClasses(AbstractLabelledStream[SeenClasses]):
    """Every task adds classes to those of the tasks before, until all classes are present.

    At a task boundary new classes are added, in a given order or in one drawn from the key of the
    run. The network has one output for each class of the whole set. Outputs of classes that have
    not been seen yet are masked and get no gradient. Each of the `loader.epochs` epochs visits all
    training rows of the classes seen. Later tasks therefore take more steps, unless
    `loader.max_minibatches` sets a constant budget. The task is evaluated on the test rows of the
    classes seen.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(epochs=2, minibatch_size=20, flat=True)
    stream = tasks.IncrementalClasses(images, classes_per_task=2, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    source: LabelledSource
    pool: ClassPool
    classes_per_task: int = eqx.field(static=True, converter=as_int)
    max_per_task: int = eqx.field(static=True, converter=as_int_or_none)
    num_tasks: int = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        data: AbstractLabelledData,
        *,
        classes_per_task: int = 5,
        max_per_task: int | None = None,
        num_tasks: int | None = None,
        order: tuple[int, ...] | None = None,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `data`: images or another labelled set, with classes.
        - `classes_per_task`: new classes in each task. If it does not divide the number of classes,
          the last task takes the classes that are left.
        - `max_per_task`: if given, the number of new classes of every task is drawn between
          `classes_per_task` and this number, uniformly among all sequences of `num_tasks` numbers
          with the right sum. The dynamic variant has 2 to 8.
        - `num_tasks`: by default the number of tasks that it takes to see all classes; with
          `max_per_task`, at the mean number of new classes. Fewer tasks may see only some of the
          classes.
        - `order`: some or all classes in the order in which they are added; by default all classes
          in a random order.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for labels that are not classes, for a number below one, for tasks
        that would have no new classes, for an order with a class that does not exist or occurs
        twice, for a minibatch larger than the smallest task, or if the first task may have no test
        rows.
        """
        largest = classes_per_task if max_per_task is None else max_per_task
        check_count("classes_per_task", classes_per_task)
        check_count("max_per_task", largest, minimum=classes_per_task)
        pool = ClassPool(data, order)
        total = len(pool.classes)
        usual = -(-2 * total // (classes_per_task + largest))
        num_tasks = usual if num_tasks is None else num_tasks
        check_count("num_tasks", num_tasks)
        if classes_per_task * (num_tasks - 1) >= total:
            raise ValueError(
                f"`num_tasks` is {num_tasks} with at least {classes_per_task} new classes in each, "
                f"but {pool.size}, so that the last task would have none: choose fewer tasks."
            )
        self.pool = pool
        self.classes_per_task = classes_per_task
        self.max_per_task = largest
        self.num_tasks = num_tasks
        self.source = pool.source(data, loader, fewest=classes_per_task, most=total)

    @property
    def chance_accuracy(self) -> None:
        """`None`, because it falls from task to task."""
        return None

    def first_change(self, *, key: PRNGKeyArray) -> SeenClasses:
        order_key, count_key = jax.random.split(key)
        order = self.pool.order(key=order_key)
        ends = jnp.minimum(jnp.cumsum(self._new_classes(count_key)), order.size)
        return SeenClasses(order, ends[0], ends)

    def next_change(self, change: SeenClasses, clock: Clock, *, key: PRNGKeyArray) -> SeenClasses:
        return SeenClasses(change.order, change.ends[clock.task], change.ends)

    def rows_of(
        self, change: SeenClasses, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        seen = jnp.arange(change.order.size) < change.count
        table, count = self.pool.rows_of(jnp.where(seen, change.order, -1), split)
        return table[: self.source.data.num_rows(split)], count

    def present(self, change: SeenClasses, rows: LabelledRows) -> LabelledBatch:
        never = jnp.full(self.out_size, change.order.size)
        index_in_order = never.at[change.order].set(jnp.arange(change.order.size))
        shape = (len(rows.labels), self.out_size)
        classes = jnp.broadcast_to(index_in_order < change.count, shape)
        return LabelledBatch(self.source.inputs(rows.inputs), rows.labels, classes=classes)

    def _new_classes(self, key: PRNGKeyArray) -> Int[Array, " tasks"]:
        """The number of new classes in each task, uniform among all sequences with the right sum.
        In the last task it may exceed the number of classes that are left."""
        spread, tasks = self.max_per_task - self.classes_per_task, self.num_tasks
        if spread == 0:
            return jnp.full(tasks, self.classes_per_task)
        fewest = self.classes_per_task * tasks
        extra = max(0, min(len(self.pool.classes) - fewest, spread * tasks))
        logs = jnp.asarray(_log_ways(spread, tasks, extra), dtype=float)

        def draw(left: Int[Array, ""], task: Int[Array, ""]):
            choices = jnp.arange(spread + 1)
            rest = left - choices
            # A choice is weighted by the number of ways in which later tasks can use up the rest.
            log_weights = jnp.where(rest >= 0, logs[tasks - 1 - task, rest], -jnp.inf)
            chosen = jax.random.categorical(jax.random.fold_in(key, task), log_weights)
            return left - chosen, self.classes_per_task + chosen

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
