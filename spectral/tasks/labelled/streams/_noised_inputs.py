"""The same labels with noise on the inputs."""

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
from ._noised_images import Noise


class NoisedInputs(AbstractLabelledStream[Noise]):
    """Every task adds different Gaussian noise to all inputs.

    At a task boundary a standard deviation is drawn uniformly between 0 and `max_noise`, in units
    of the scaled inputs, and with it new noise for every entry of every row. Within a task a row is
    always shown with the same noise. Every epoch visits all training rows. The task is evaluated
    under noise of the same standard deviation. `NoisedImages` changes pixels instead, and clips
    them to their range.

    ```python
    from sklearn.datasets import load_wine

    data = tasks.labelled_set(*load_wine(return_X_y=True))
    loader = tasks.Loader(minibatch_size=20, standardise=True)
    stream = tasks.NoisedInputs(data, num_tasks=5, max_noise=2.0, loader=loader)
    ```
    """

    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    draws_tasks: ClassVar[bool] = True
    rebuilds: ClassVar[bool] = True
    source: LabelledSource
    max_noise: Float[Array, ""]
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        data: AbstractLabelledData,
        *,
        num_tasks: int = 100,
        max_noise: float | Float[Array, ""] = 0.5,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `data`: images or another labelled set.
        - `num_tasks`: tasks in the stream.
        - `max_noise`: the largest standard deviation. With a loader that standardises, 1 is the
          standard deviation of an entry.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, for noise that is not positive, or for a minibatch
        larger than the training set.
        """
        check_above("max_noise", max_noise, 0)
        check_count("num_tasks", num_tasks)
        self.max_noise = jnp.asarray(max_noise, dtype=float)
        self.source = LabelledSource(data, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Noise:
        return Noise(jnp.zeros(()), key)

    def next_change(self, change: Noise, clock: Clock, *, key: PRNGKeyArray) -> Noise:
        return Noise.drawn(self.max_noise, key=key)

    def present(self, change: Noise, rows: LabelledRows) -> LabelledBatch:
        inputs = self.source.inputs(rows.inputs)
        draw = lambda key: jax.random.normal(key, inputs.shape[1:])
        noise = jax.vmap(draw)(rows.keys(change.key))
        return LabelledBatch(inputs + change.deviation * noise, rows.labels)
