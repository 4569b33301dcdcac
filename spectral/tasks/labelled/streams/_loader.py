"""How the rows of a task are visited, and how images are shown to a network."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ...._arguments import check_count
from ..sets._image_set import ImageSet
from ._augmentation import AbstractAugmentation


class Loader(eqx.Module):
    """Epochs, minibatches and the form of the inputs, for streams of images.

    ```python
    loader = Loader(epochs=20, minibatch_size=50, standardise=True)
    ```

    Images stay bytes until a minibatch is taken. Channels come first: an input is
    `[channels, height, width]`, or a vector if `flat`.

    **Arguments:**

    - `epochs`: passes over the rows of a task, each of which is one chunk.
    - `minibatch_size`: rows in a minibatch. Rows that do not fill a last minibatch are left out of
        that epoch; with `shuffle` these are others in each.
    - `max_minibatches`: take at most so many minibatches of each pass, the first of its order: a
        constant budget of steps where tasks grow. By default all.
    - `shuffle`: visit the rows of every epoch in a new order. `False` keeps the one order that is
        drawn at the start of the task.
    - `standardise`: shift and scale every channel to zero mean and unit variance over the training
        images. `False` scales to [0, 1].
    - `flat`: inputs are vectors, with the channels outermost.
    - `augmentation`: a random change of the training images, drawn anew whenever one is shown.
    - `evaluation_batch_size`: test rows in one pass of the evaluation.

    **Raises:** `ValueError` for a number below one.
    """

    _: KW_ONLY
    epochs: int = eqx.field(static=True, default=1)
    minibatch_size: int = eqx.field(static=True, default=100)
    max_minibatches: int | None = eqx.field(static=True, default=None)
    shuffle: bool = eqx.field(static=True, default=True)
    standardise: bool = eqx.field(static=True, default=False)
    flat: bool = eqx.field(static=True, default=False)
    augmentation: AbstractAugmentation | None = None
    evaluation_batch_size: int = eqx.field(static=True, default=500)

    def __check_init__(self):
        check_count("epochs", self.epochs)
        check_count("minibatch_size", self.minibatch_size)
        if self.max_minibatches is not None:
            check_count("max_minibatches", self.max_minibatches)
        check_count("evaluation_batch_size", self.evaluation_batch_size)


class Shown(eqx.Module):
    """Images as a network sees them: (pixel - shift) / scale, channels first."""

    shift: Float[Array, " channels"]
    scale: Float[Array, " channels"]
    flat: bool = eqx.field(static=True)

    def __init__(self, images: ImageSet, loader: Loader):
        """**Raises:** `ValueError` if a channel is to be standardised that never changes."""
        pixels = np.asarray(images.train_images)
        channels = pixels.shape[-1]
        shift, scale = np.zeros(channels), np.full(channels, float(images.max_value))
        if loader.standardise:
            shift, scale = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
        if not scale.all():
            raise ValueError(
                f"`standardise` needs channels that differ between images, but channel "
                f"{int(np.argmin(scale))} of {images.name!r} does not: pass `standardise=False`."
            )
        self.shift = jnp.asarray(shift, dtype=float)
        self.scale = jnp.asarray(scale, dtype=float)
        self.flat = loader.flat

    def __call__(
        self, pixels: UInt8[Array, "examples height width channels"]
    ) -> Float[Array, "examples ..."]:
        inputs = (pixels.astype(float) - self.shift[None, None, None]) / self.scale[
            None, None, None
        ]
        inputs = inputs.transpose(0, 3, 1, 2)
        return inputs.reshape(inputs.shape[0], -1) if self.flat else inputs


def in_new_order(
    key: PRNGKeyArray, capacity: int, count: int | Int[Array, ""]
) -> Int[Array, " capacity"]:
    """A random order of 0, ..., count - 1, followed by the rest of 0, ..., capacity - 1."""
    places = jnp.arange(capacity)
    draws = jax.random.permutation(key, capacity)
    return jnp.argsort(jnp.where(places < count, draws, capacity + places))
