"""The same labels with inputs that are shifted a little further in every task."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_above, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._labelled_data import AbstractLabelledData
from ._labelled_stream import AbstractLabelledStream


class DriftingInputs(AbstractLabelledStream[Float[Array, " entries"]]):
    """Every task adds a shift to all inputs, which moves slowly from task to task.

    The shift of the first task is zero. At each later task boundary it moves by a vector in a
    random direction whose entries have the root mean square `step`, in units of the scaled inputs.
    So it is a random walk: after t boundaries the root mean square of the shift is about
    `step` sqrt(t). Every epoch visits all training rows. The task is evaluated under the same
    shift.

    ```python
    from sklearn.datasets import load_wine

    data = tasks.labelled_set(*load_wine(return_X_y=True))
    loader = tasks.Loader(minibatch_size=20, standardise=True)
    stream = tasks.DriftingInputs(data, num_tasks=5, step=0.2, loader=loader)
    ```
    """

    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    source: LabelledSource
    step: Float[Array, ""]
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        data: AbstractLabelledData,
        *,
        num_tasks: int = 100,
        step: float | Float[Array, ""] = 0.1,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `data`: images or another labelled set.
        - `num_tasks`: tasks in the stream.
        - `step`: the root mean square of the entries of a move. With a loader that standardises, 1
          is the standard deviation of an entry.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, for a step that is not positive, or for a minibatch
        larger than the training set.
        """
        check_count("num_tasks", num_tasks)
        check_above("step", step, 0)
        self.step = jnp.asarray(step, dtype=float)
        self.source = LabelledSource(data, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Float[Array, " entries"]:
        return jnp.zeros(self.in_size)

    def next_change(
        self, change: Float[Array, " entries"], clock: Clock, *, key: PRNGKeyArray
    ) -> Float[Array, " entries"]:
        direction = jax.random.normal(key, change.shape)
        move = self.step * direction / jnp.sqrt(jnp.mean(direction**2))
        return jnp.where(clock.task > 0, change + move, change)

    def present(self, change: Float[Array, " entries"], rows: LabelledRows) -> LabelledBatch:
        inputs = self.source.inputs(rows.inputs)
        shifted = inputs + change.reshape(1, *inputs.shape[1:])
        return LabelledBatch(shifted, rows.labels)
