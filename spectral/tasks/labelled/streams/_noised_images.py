"""The same images under noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from ...._arguments import check_above, check_count
from ...._types import Clock
from ..._base._stream import Split
from ..sets._image_set import ImageSet
from ._image_source import ImageSource
from ._image_stream import AbstractImageStream, ImageBatch
from ._loader import Loader


class Noise(eqx.Module):
    deviation: Float[Array, ""]  # in units of the largest pixel value
    key: PRNGKeyArray


class NoisedImages(AbstractImageStream[Noise]):
    """Every task adds noise of its own to all images.

    At a task boundary a standard deviation is drawn uniformly between 0 and `max_noise`, and new
    Gaussian noise of that size for every pixel of every image; within a task an image is always
    shown with the same noise. Sums are cut to the range of a pixel. All training rows are visited
    in every epoch, and all test rows, under noise of the same size, evaluate the task.

    ```python
    images = tasks.load_images("digits")
    loader = tasks.Loader(minibatch_size=50, flat=True)
    stream = tasks.NoisedImages(images, num_tasks=5, max_noise=0.5, loader=loader)
    ```
    """

    source: ImageSource
    max_noise: Float[Array, ""]
    num_tasks: int = eqx.field(static=True)

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
        - `max_noise`: the largest standard deviation, where 1 is the whole range of a pixel.
        - `loader`: by default `Loader()`.

        **Raises:** `ValueError` for no tasks, noise that is not positive, or a batch larger than
        the training set.
        """
        check_above("max_noise", max_noise, 0)
        self.max_noise = jnp.asarray(max_noise, dtype=float)
        check_count("num_tasks", num_tasks)
        self.source = ImageSource(images, loader)
        self.num_tasks = num_tasks

    def first_change(self, *, key: PRNGKeyArray) -> Noise:
        return Noise(jnp.zeros(()), key)

    def next_change(self, change: Noise, clock: Clock, *, key: PRNGKeyArray) -> Noise:
        size_key, noise_key = jax.random.split(key)
        return Noise(jax.random.uniform(size_key, maxval=self.max_noise), noise_key)

    def rows_of(
        self, change: Noise, split: Split
    ) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
        return self.source.all_rows(split)

    def present(
        self,
        change: Noise,
        pixels: UInt8[Array, "examples height width channels"],
        rows: Int[Array, " examples"],
        labels: Int[Array, " examples"],
        split: Split,
    ) -> ImageBatch:
        # A function of the row: an image keeps its noise for the whole task.
        key = jax.random.fold_in(change.key, 0 if split == "train" else 1)

        def noisy(image: UInt8[Array, "height width channels"], row: Int[Array, ""]):
            noise = jax.random.normal(jax.random.fold_in(key, row), image.shape)
            whole = self.source.images.max_value
            return jnp.clip(jnp.round(image + whole * change.deviation * noise), 0, whole)

        noised = jax.vmap(noisy)(pixels, rows).astype(pixels.dtype)
        return ImageBatch(self.source.shown(noised), labels, None)
