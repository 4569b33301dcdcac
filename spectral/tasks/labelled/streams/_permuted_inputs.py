"""The same labels with permuted inputs."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class PermutedInputs(AbstractLabelledStream[Int[Array, " entries"]]):
    """Every task permutes the entries of all inputs.

    At a task boundary a permutation is drawn and applied to the *original* inputs, after they were
    scaled, so that tasks do not compound. Every epoch visits all training rows. `PermutedImages` is
    the online stream of the paper.

    ```python
    from sklearn.datasets import load_wine

    data = tasks.labelled_set(*load_wine(return_X_y=True))
    loader = tasks.Loader(minibatch_size=20, standardise=True)
    stream = tasks.PermutedInputs(data, num_tasks=5, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    source: LabelledSource
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self, data: AbstractLabelledData, *, num_tasks: int = 100, loader: Loader | None = None
    ):
        """**Arguments:**

        - `data`: images or another labelled set.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, or for a minibatch larger than the training set.
        """
        check_count("num_tasks", num_tasks)
        self.source = LabelledSource(data, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Int[Array, " entries"]:
        return jnp.arange(self.in_size)

    def next_change(
        self, change: Int[Array, " entries"], clock: Clock, *, key: PRNGKeyArray
    ) -> Int[Array, " entries"]:
        return jax.random.permutation(key, self.in_size)

    def present(self, change: Int[Array, " entries"], rows: LabelledRows) -> LabelledBatch:
        inputs = self.source.inputs(rows.inputs)
        permuted = inputs.reshape(len(inputs), -1)[:, change]
        return LabelledBatch(permuted.reshape(inputs.shape), rows.labels)
