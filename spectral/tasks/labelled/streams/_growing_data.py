"""A growing number of training rows."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..._base._limits import check_at_most
from ..._base._splits import Split
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData, check_labelled
from ._labelled_stream import AbstractLabelledStream


class SeenRows(eqx.Module):
    order: Int[Array, " rows"]
    count: Int[Array, ""]  # the first `count` rows of the order have been seen


class GrowingData(AbstractLabelledStream[SeenRows]):
    """Every task adds training rows to those of the tasks before, until all are present.

    The rows are added in an order that is drawn from the key of the run, equally many in each task
    up to rounding. Inputs and labels do not change. Each of the `loader.epochs` epochs visits all
    rows added so far, so that later tasks take more steps, unless `loader.max_minibatches` sets a
    constant budget. Every task is evaluated on all test rows. (With two tasks this is the warm
    start of Ash and Adams 2020. It is the setting of DASH, Shin et al. 2024, `algorithms.dash`: one
    distribution, and stages that accumulate.)

    ```python
    from sklearn.datasets import load_wine

    data = tasks.labelled_set(*load_wine(return_X_y=True))
    loader = tasks.Loader(minibatch_size=10, standardise=True)
    stream = tasks.GrowingData(data, num_tasks=5, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    source: LabelledSource
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self, data: AbstractLabelledData, *, num_tasks: int = 10, loader: Loader | None = None
    ):
        """**Arguments:**

        - `data`: images or another labelled set.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks or more tasks than training rows, or for a minibatch
        larger than the rows of the first task.
        """
        check_labelled("data", data)
        rows = data.num_rows("train")
        check_at_most("num_tasks", num_tasks, rows, f"{data.name!r} has {rows} training rows")
        self.source = LabelledSource(data, loader, smallest_task=rows // num_tasks)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> SeenRows:
        rows = self.source.data.num_rows("train")
        return SeenRows(jax.random.permutation(key, rows), jnp.asarray(rows // self.num_tasks))

    def next_change(self, change: SeenRows, clock: Clock, *, key: PRNGKeyArray) -> SeenRows:
        ends = [(t + 1) * change.order.size // self.num_tasks for t in range(self.num_tasks)]
        return SeenRows(change.order, jnp.asarray(ends)[clock.task])

    def rows_of(
        self, change: SeenRows, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        if split == "train":
            return change.order, change.count
        return self.source.all_rows(split)

    def present(self, change: SeenRows, rows: LabelledRows) -> LabelledBatch:
        return LabelledBatch(self.source.inputs(rows.inputs), rows.labels)
