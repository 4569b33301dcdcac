"""A fraction of the training rows with wrong labels."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._arguments import as_int, check_count, check_fraction
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._class_labels import check_classes
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class FlippedLabels(AbstractLabelledStream[Int[Array, " rows"]]):
    """Every task gives a fraction of the training rows another class.

    At a task boundary the rows and their wrong classes are drawn, independent of the tasks before:
    `fraction` of the rows, rounded to whole rows, get one of the other classes, each with equal
    probability. The inputs do not change. Every epoch visits all training rows. The task is
    evaluated on the true classes.

    ```python
    from sklearn.datasets import load_wine

    data = tasks.labelled_set(*load_wine(return_X_y=True))
    loader = tasks.Loader(minibatch_size=20, standardise=True)
    stream = tasks.FlippedLabels(data, num_tasks=5, fraction=0.3, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "labels"
    source: LabelledSource
    fraction: Float[Array, ""]
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        data: AbstractLabelledData,
        *,
        num_tasks: int = 100,
        fraction: float | Float[Array, ""] = 0.2,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `data`: images or another labelled set, with at least two classes.
        - `num_tasks`: tasks in the stream.
        - `fraction`: of the training rows that get another class.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for labels that are not classes, for a single class, for no tasks,
        for a fraction outside [0, 1], or for a minibatch larger than the training set.
        """
        check_count("num_classes", check_classes(data), minimum=2)
        check_count("num_tasks", num_tasks)
        check_fraction("fraction", fraction)
        self.fraction = jnp.asarray(fraction, dtype=float)
        self.source = LabelledSource(data, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Int[Array, " rows"]:
        return self.source.data.part("train")[1]

    def next_change(
        self, change: Int[Array, " rows"], clock: Clock, *, key: PRNGKeyArray
    ) -> Int[Array, " rows"]:
        row_key, class_key = jax.random.split(key)
        labels = self.source.data.part("train")[1]
        flipped = jax.random.permutation(row_key, labels.size) < jnp.round(
            self.fraction * labels.size
        )
        # Adding 1 to out_size - 1 leads to each of the other classes.
        added = jax.random.randint(class_key, labels.shape, 1, self.out_size)
        return jnp.where(flipped, (labels + added) % self.out_size, labels)

    def present(self, change: Int[Array, " rows"], rows: LabelledRows) -> LabelledBatch:
        labels = change[rows.indices] if rows.split == "train" else rows.labels
        return LabelledBatch(self.source.inputs(rows.inputs), labels)
