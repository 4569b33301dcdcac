"""The same labels with inputs that are rotated in the space of features."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class RotatedInputs(AbstractLabelledStream[Float[Array, "entries entries"]]):
    """Every task multiplies all inputs by a random orthogonal matrix.

    At a task boundary the matrix is drawn uniformly (by the Haar measure) and applied to the
    *original* inputs, after they were scaled, so that tasks do not compound and all distances
    between inputs are kept. The matrix has `in_size`^2 numbers. Every epoch visits all training
    rows. `RotatedImages` rotates pictures in their plane.

    ```python
    from sklearn.datasets import load_wine

    data = tasks.labelled_set(*load_wine(return_X_y=True))
    loader = tasks.Loader(minibatch_size=20, standardise=True)
    stream = tasks.RotatedInputs(data, num_tasks=5, loader=loader)
    ```
    """

    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    draws_tasks: ClassVar[bool] = True
    rebuilds: ClassVar[bool] = True
    source: LabelledSource
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self, data: AbstractLabelledData, *, num_tasks: int = 100, loader: Loader | None = None
    ):
        """**Arguments:**

        - `data`: images or another labelled set.
        - `num_tasks`: tasks in the stream.
        - `loader`: by default `Loader()`. With entries of different units, choose one that
          standardises, because a rotation mixes all entries.

        **Raises:** `ValueError` for no tasks, or for a minibatch larger than the training set.
        """
        check_count("num_tasks", num_tasks)
        self.num_tasks = num_tasks
        self.source = LabelledSource(data, loader)

    def first_change(self, *, key: PRNGKeyArray) -> Float[Array, "entries entries"]:
        return jnp.eye(self.in_size)

    def next_change(
        self, change: Float[Array, "entries entries"], clock: Clock, *, key: PRNGKeyArray
    ) -> Float[Array, "entries entries"]:
        return jax.random.orthogonal(key, self.in_size)

    def present(self, change: Float[Array, "entries entries"], rows: LabelledRows) -> LabelledBatch:
        inputs = self.source.inputs(rows.inputs)
        # By default accelerators round products to fewer bits, which would change distances.
        rotate = lambda x: jnp.matmul(x, change, precision=jax.lax.Precision.HIGHEST)
        rotated = rotate(inputs.reshape(len(inputs), -1))
        return LabelledBatch(rotated.reshape(inputs.shape), rows.labels)
