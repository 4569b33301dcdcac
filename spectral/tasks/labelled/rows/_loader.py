"""How a stream visits the rows of a task, and how it presents inputs to a network."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from ...._arguments import as_int, as_int_or_none, check_count
from ..sets._labelled_data import AbstractLabelledData
from ._augmentation import AbstractAugmentation


class Loader(eqx.Module):
    """Epochs, minibatches and the form of the inputs, for streams of labelled data.

    ```python
    loader = Loader(epochs=20, minibatch_size=50, standardise=True)
    ```

    Images stay bytes until a minibatch is taken. An input has the shape
    `[channels, height, width]` for images and the stored shape for other data, or is a vector if
    `flat`.

    **Arguments:**

    - `epochs`: passes over the rows of a task. Each is one chunk.
    - `minibatch_size`: rows in a minibatch. An epoch leaves out the rows that do not fill a last
        minibatch; with `shuffle` these differ from epoch to epoch.
    - `max_minibatches`: take at most this number of minibatches of each epoch, the first ones of
        its order. This gives a constant budget of steps if tasks grow. By default all.
    - `shuffle`: visit the rows in a new order in every epoch. `False` keeps one order, drawn at the
        start of the task.
    - `standardise`: shift and scale every channel of images, or every entry of other inputs, to
        zero mean and unit variance over the training rows. `False` scales bytes to [0, 1] and
        leaves floats as they are.
    - `flat`: inputs are vectors, with the channels of images as the outermost axis.
    - `augmentation`: a random change of the training images, drawn again for every visit. Other
        data have none.
    - `evaluation_batch_size`: test rows in one pass of the evaluation.

    **Raises:** `ValueError` for a number below one.
    """

    _: KW_ONLY
    epochs: int = eqx.field(static=True, default=1, converter=as_int)
    minibatch_size: int = eqx.field(static=True, default=100, converter=as_int)
    max_minibatches: int | None = eqx.field(static=True, default=None, converter=as_int_or_none)
    shuffle: bool = eqx.field(static=True, default=True)
    standardise: bool = eqx.field(static=True, default=False)
    flat: bool = eqx.field(static=True, default=False)
    augmentation: AbstractAugmentation | None = None
    evaluation_batch_size: int = eqx.field(static=True, default=500, converter=as_int)

    def __check_init__(self):
        check_count("epochs", self.epochs)
        check_count("minibatch_size", self.minibatch_size)
        if self.max_minibatches is not None:
            check_count("max_minibatches", self.max_minibatches)
        check_count("evaluation_batch_size", self.evaluation_batch_size)


class InputTransform(eqx.Module):
    """Converts stored inputs to network inputs: (stored - shift) / scale, channels first."""

    shift: Float[Array, "..."]
    scale: Float[Array, "..."]
    channels_last: bool = eqx.field(static=True)
    flat: bool = eqx.field(static=True)

    def __init__(self, data: AbstractLabelledData, loader: Loader):
        """**Raises:** `ValueError` if a channel of images to be standardised is constant."""
        self.shift, self.scale = data.input_scale(standardise=loader.standardise)
        self.channels_last = data.channels_last
        self.flat = loader.flat

    def __call__(self, stored: Shaped[Array, "examples ..."]) -> Float[Array, "examples ..."]:
        lead = (None,) * (stored.ndim - self.shift.ndim)
        inputs = (stored.astype(float) - self.shift[lead]) / self.scale[lead]
        if self.channels_last:
            inputs = jnp.moveaxis(inputs, -1, 1)
        return inputs.reshape(inputs.shape[0], -1) if self.flat else inputs


def shuffled(
    key: PRNGKeyArray, capacity: int, count: int | Int[Array, ""]
) -> Int[Array, " capacity"]:
    """Returns 0, ..., count - 1 in random order, followed by count, ..., capacity - 1."""
    indices = jnp.arange(capacity)
    draws = jax.random.permutation(key, capacity)
    return jnp.argsort(jnp.where(indices < count, draws, capacity + indices))
