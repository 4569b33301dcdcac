"""Random changes of training images."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from ...._arguments import check_above, check_count


Image = UInt8[Array, "height width channels"]


class AbstractAugmentation(eqx.Module):
    """A random change of one image."""

    @abstractmethod
    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        """Returns the changed image, which has the same size."""


class Flip(AbstractAugmentation):
    """Mirror an image left to right with probability 1/2."""

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


class Crop(AbstractAugmentation):
    """Pad an image by reflecting `padding` pixels on every side, then crop it to its original size
    at a random position.

    **Raises:** `ValueError` for a padding below one.
    """

    _: KW_ONLY
    padding: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        check_count("padding", self.padding)

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        p = self.padding
        padded = jnp.pad(image, ((p, p), (p, p), (0, 0)), mode="reflect")
        row, column = jax.random.randint(key, (2,), 0, 2 * p + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


class Rotate(AbstractAugmentation):
    """Rotate an image by an angle drawn uniformly from -`degrees` to `degrees`; see `rotated`.

    **Raises:** `ValueError` for an angle that is not positive.
    """

    degrees: Float[Array, ""]

    def __init__(self, *, degrees: float | Float[Array, ""] = 15.0):
        check_above("degrees", degrees, 0)
        self.degrees = jnp.asarray(degrees, dtype=float)

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        return rotated(image, jax.random.uniform(key, minval=-self.degrees, maxval=self.degrees))


class Compose(AbstractAugmentation):
    """Apply several changes in turn. Each has its own random draws."""

    changes: tuple[AbstractAugmentation, ...]

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        for i, change in enumerate(self.changes):
            image = change(image, jax.random.fold_in(key, i))
        return image


def rotated(image: Image, degrees: Float[Array, ""]) -> Image:
    """Rotate an image counter-clockwise about its centre, with nearest-neighbour sampling. Pixels
    from outside the original image are 0."""
    height, width, _ = image.shape
    angle = jnp.deg2rad(degrees)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y, x = jnp.arange(height)[:, None] - centre_y, jnp.arange(width)[None, :] - centre_x
    # The source of the pixel at (y, x). The y axis of an image points down.
    source_y = jnp.round(cosine * y + sine * x + centre_y).astype(int)
    source_x = jnp.round(cosine * x - sine * y + centre_x).astype(int)
    inside = (source_y >= 0) & (source_y < height) & (source_x >= 0) & (source_x < width)
    taken = image[jnp.clip(source_y, 0, height - 1), jnp.clip(source_x, 0, width - 1)]
    return jnp.where(inside[:, :, None], taken, 0).astype(image.dtype)
