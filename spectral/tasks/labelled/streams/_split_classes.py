"""A few classes at a time: Split CIFAR, Continual ImageNet."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int, as_int_or_none, check_count
from ...._keys import derive, Role
from ...._types import Clock
from ..._base._begun_again import begun_again
from ..._base._classification import LabelledBatch
from ..._base._limits import check_at_most
from ..._base._no_fresh_task import NoFreshTaskError
from ..._base._splits import Split
from ..rows._class_rows import ClassPool
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream, LabelledTask


class TaskClasses(eqx.Module):
    order: Int[Array, " some"]  # of the classes, in the current pass over them
    classes: Int[Array, " k"]  # of the current task; label i stands for classes[i]


class SplitClasses(AbstractLabelledStream[TaskClasses]):
    """Every task is to tell a few classes apart, with the same few outputs.

    At a task boundary the classes change, and with them the rows and the meaning of the outputs:
    output i stands for class i of the task. Task t takes the next `classes_per_task` classes of an
    order of all classes, which is given or drawn from the key of the run. If fewer classes are
    left, the next pass over the classes begins, in the same order or in a new one.

    The task is evaluated on the test rows of its classes. The stream leaves the head of the network
    unchanged; use `spectral.algorithms.Reset` in the algorithm to reset it.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=20, flat=True)
    stream = tasks.SplitClasses(images, num_tasks=5, loader=loader)
    ```
    """

    source: LabelledSource
    pool: ClassPool
    classes_per_task: int = eqx.field(static=True, converter=as_int)
    redraw: bool = eqx.field(static=True)
    num_tasks: int = eqx.field(static=True, converter=as_int_or_none)

    def __init__(
        self,
        data: AbstractLabelledData,
        *,
        classes_per_task: int = 2,
        num_tasks: int | None = None,
        order: tuple[int, ...] | None = None,
        redraw: bool = True,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `data`: images or another labelled set, with classes.
        - `classes_per_task`: 2 in Continual ImageNet.
        - `num_tasks`: by default one pass over the classes.
        - `order`: some or all classes in the order of the first pass; by default all classes in a
          random order.
        - `redraw`: draw a new order of the classes for every later pass over them.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for labels that are not classes, for a number below one, for more
        classes in a task than there are, for an order with a class that does not exist or occurs
        twice, for a minibatch larger than the smallest task, or if a task may have no test rows.
        """
        pool = ClassPool(data, order)
        total = len(pool.classes)
        check_at_most("classes_per_task", classes_per_task, total, pool.size)
        num_tasks = total // classes_per_task if num_tasks is None else num_tasks
        check_count("num_tasks", num_tasks)
        self.pool = pool
        self.classes_per_task = classes_per_task
        self.redraw = redraw
        self.num_tasks = num_tasks
        self.source = pool.source(data, loader, fewest=classes_per_task, most=classes_per_task)

    @property
    def out_size(self) -> int:
        """The length of the output vector."""
        return self.classes_per_task

    def first_change(self, *, key: PRNGKeyArray) -> TaskClasses:
        order = self.pool.order(key=key)
        return TaskClasses(order, order[: self.classes_per_task])

    def next_change(self, change: TaskClasses, clock: Clock, *, key: PRNGKeyArray) -> TaskClasses:
        k = self.classes_per_task
        place = clock.task % (change.order.size // k)  # of the task in its pass over the classes
        order = change.order
        if self.redraw:
            new_pass = (place == 0) & (clock.task > 0)
            order = jnp.where(new_pass, jax.random.permutation(key, self.pool.classes), order)
        return TaskClasses(order, jax.lax.dynamic_slice_in_dim(order, place * k, k))

    def rebuild(
        self, state: LabelledTask[TaskClasses], task: Int[Array, ""], *, key: PRNGKeyArray
    ) -> LabelledTask[TaskClasses]:
        first = task - task % (state.change.order.size // self.classes_per_task)
        # The first task of a pass draws the order of the pass; that of the first pass is the
        # initial one.
        start = self.init(key=derive(key, Role.INIT_STREAM))
        begun = begun_again(self, start, first, key=key)
        return begun_again(self, begun, task, key=key)

    def fresh_task(
        self, state: LabelledTask[TaskClasses], clock: Clock, *, key: PRNGKeyArray
    ) -> LabelledTask[TaskClasses]:
        """Returns a task of classes that the run never uses. If too few are left and the run draws
        new orders of its classes, these are any classes, as in a later pass of the run.

        **Raises:** `NoFreshTaskError` if neither is possible.
        """
        k, order = self.classes_per_task, state.change.order
        used = self.num_tasks * k
        class_key, order_key = jax.random.split(key)
        if order.size - used >= k:
            # There is one pass only, so that `order` is that of the whole run.
            classes = jax.random.permutation(class_key, order[used:])[:k]
        elif self.redraw and self.num_tasks > order.size // k:
            classes = jax.random.permutation(class_key, self.pool.classes)[:k]
        else:
            raise NoFreshTaskError(
                f"`num_tasks` is {self.num_tasks}, whose tasks use {min(used, order.size)} of the "
                f"{order.size} classes, so that no {k} are left for a task that the run will not "
                "see: choose fewer tasks, or more than one pass with `redraw=True`."
            )
        return self._task(TaskClasses(order, classes), order_key)

    def rows_of(
        self, change: TaskClasses, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        return self.pool.rows_of(change.classes, split)

    def present(self, change: TaskClasses, rows: LabelledRows) -> LabelledBatch:
        labels = jnp.argmax(rows.labels[:, None] == change.classes[None], axis=1)
        return LabelledBatch(self.source.inputs(rows.inputs), labels)
