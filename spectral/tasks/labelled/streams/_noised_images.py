"""The same images with added noise."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from ...._arguments import as_int, check_above, check_count
from ...._types import Clock
from ..._base._classification import LabelledBatch
from ..rows._labelled_rows import LabelledRows
from ..rows._labelled_source import LabelledSource
from ..rows._loader import Loader
from ..sets._image_set import check_images, ImageSet
from ._labelled_stream import AbstractLabelledStream


class Noise(eqx.Module):
    deviation: Float[Array, ""]
    key: PRNGKeyArray

    @staticmethod
    def drawn(max_noise: Float[Array, ""], *, key: PRNGKeyArray) -> "Noise":
        """Draw a deviation between 0 and `max_noise`, and the key of the noise."""
        size_key, noise_key = jax.random.split(key)
        return Noise(jax.random.uniform(size_key, maxval=max_noise), noise_key)


class NoisedImages(AbstractLabelledStream[Noise]):
    """Every task adds different noise to all images.

    At a task boundary a standard deviation is drawn uniformly between 0 and `max_noise`, and with
    it new Gaussian noise for every pixel of every image. Within a task an image is always shown
    with the same noise. Sums are clipped to the range of a pixel. Every epoch visits all training
    rows. The task is evaluated on all test rows, under noise of the same standard deviation.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50, flat=True)
    stream = tasks.NoisedImages(images, num_tasks=5, max_noise=0.5, loader=loader)
    ```
    """

    rebuilds: ClassVar[bool] = True
    draws_tasks: ClassVar[bool] = True
    only_changes: ClassVar[Literal["inputs", "labels"] | None] = "inputs"
    source: LabelledSource
    max_noise: Float[Array, ""]
    max_value: int = eqx.field(static=True, converter=as_int)
    num_tasks: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        images: ImageSet,
        *,
        num_tasks: int = 100,
        max_noise: float | Float[Array, ""] = 0.5,
        loader: Loader | None = None,
    ):
        """**Arguments:**

        - `images`: from `load_images`.
        - `num_tasks`: tasks in the stream.
        - `max_noise`: the largest standard deviation; 1 is the whole range of a pixel.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, for noise that is not positive, or for a minibatch
        larger than the training set.
        """
        check_images("images", images, instead="NoisedInputs")
        check_above("max_noise", max_noise, 0)
        check_count("num_tasks", num_tasks)
        self.max_noise = jnp.asarray(max_noise, dtype=float)
        self.source = LabelledSource(images, loader)
        self.max_value = images.max_value
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Noise:
        return Noise(jnp.zeros(()), key)

    def next_change(self, change: Noise, clock: Clock, *, key: PRNGKeyArray) -> Noise:
        return Noise.drawn(self.max_noise, key=key)

    def present(self, change: Noise, rows: LabelledRows) -> LabelledBatch:
        whole = self.max_value

        def noisy(image: UInt8[Array, "height width channels"], key: PRNGKeyArray):
            noise = jax.random.normal(key, image.shape)
            return jnp.clip(jnp.round(image + whole * change.deviation * noise), 0, whole)

        noised = jax.vmap(noisy)(rows.inputs, rows.keys(change.key)).astype(rows.inputs.dtype)
        return LabelledBatch(self.source.inputs(noised), rows.labels)
