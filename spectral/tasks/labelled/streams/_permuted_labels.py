"""The same inputs with permuted classes."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._class_labels import check_classes
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class PermutedLabels(AbstractLabelledStream[Int[Array, " classes"]]):
    """Every task changes which output stands for which class.

    At a task boundary a permutation of the classes is drawn and applied to the *original* labels,
    so that tasks do not compound. The inputs do not change. Every epoch visits all training rows.
    The task is evaluated on all test rows under the same permutation.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50, flat=True)
    stream = tasks.PermutedLabels(images, num_tasks=5, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "labels"
    source: LabelledSource
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self, data: AbstractLabelledData, *, num_tasks: int = 100, loader: Loader | None = None
    ):
        """**Arguments:**

        - `data`: images or another labelled set, with classes.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for labels that are not classes, for no tasks, or for a minibatch
        larger than the training set.
        """
        check_classes(data)
        check_count("num_tasks", num_tasks)
        self.source = LabelledSource(data, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Int[Array, " classes"]:
        return jnp.arange(self.out_size)

    def next_change(
        self, change: Int[Array, " classes"], clock: Clock, *, key: PRNGKeyArray
    ) -> Int[Array, " classes"]:
        return jax.random.permutation(key, self.out_size)

    def present(self, change: Int[Array, " classes"], rows: LabelledRows) -> LabelledBatch:
        return LabelledBatch(self.source.inputs(rows.inputs), change[rows.labels])
