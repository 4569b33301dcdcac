"""A stream: tabular data, of which every task gives some rows the next class."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray
from sklearn.datasets import load_wine

from spectral import Clock
from spectral.tasks import (
    AbstractLabelledStream,
    labelled_set,
    LabelledBatch,
    LabelledRows,
    LabelledSource,
    Loader,
)


class FlippedWine(AbstractLabelledStream[Bool[Array, " rows"]]):
    """178 wines with 13 measured properties each. In every task each training row has the class
    after its own with probability `fraction`; the test rows keep their classes."""

    source: LabelledSource
    num_tasks: int = eqx.field(static=True)
    fraction: float = eqx.field(static=True)

    def __init__(self, num_tasks: int = 20, *, fraction: float = 0.3, epochs: int = 5):
        inputs, classes = load_wine(return_X_y=True)
        data = labelled_set(inputs, classes, name="wine", num_test=36, num_validation=30)
        self.source = LabelledSource(
            data, Loader(epochs=epochs, minibatch_size=16, standardise=True)
        )
        self.num_tasks = num_tasks
        self.fraction = fraction

    def first_change(self, *, key: PRNGKeyArray) -> Bool[Array, " rows"]:
        return jnp.zeros(self.source.data.num_rows("train"), bool)

    def next_change(
        self, change: Bool[Array, " rows"], clock: Clock, *, key: PRNGKeyArray
    ) -> Bool[Array, " rows"]:
        return jax.random.bernoulli(key, self.fraction, change.shape)

    def present(self, change: Bool[Array, " rows"], rows: LabelledRows) -> LabelledBatch:
        labels = rows.labels
        if rows.split == "train":
            labels = (labels + change[rows.indices]) % self.out_size
        return LabelledBatch(self.source.inputs(rows.inputs), labels)
