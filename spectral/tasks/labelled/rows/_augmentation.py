"""Random changes of training images."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from ...._arguments import as_int, check_above, check_count, unknown_name


# Pixels are bytes, or floats on the scale of the bytes.
Image = UInt8[Array, "height width channels"] | Float[Array, "height width channels"]
Channels = Float[Array, "*channels"]  # noqa: F821 (ruff reads a product of two names)


class AbstractAugmentation(eqx.Module):
    """A random change of one image, before its pixels are scaled to the inputs of a network."""

    @abstractmethod
    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        """Returns the changed image, which has the same size."""

    def with_zero(self, zero: Channels) -> "AbstractAugmentation":
        """Returns this change for pixels that become 0 in the inputs of the network where they are
        `zero`, one number for each channel or one for all. A stream calls it with what its loader
        subtracts. By default the change does not depend on it.
        """
        return self


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
    padding: int = eqx.field(static=True, default=4, converter=as_int)

    def __check_init__(self):
        check_count("padding", self.padding)

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        p = self.padding
        padded = jnp.pad(image, ((p, p), (p, p), (0, 0)), mode="reflect")
        row, column = jax.random.randint(key, (2,), 0, 2 * p + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


class Rotate(AbstractAugmentation):
    """Rotate an image counter-clockwise by a random angle, with nearest-neighbour sampling.

    ```python
    published = tasks.Rotate(degrees=(0.0, 15.0), fill="zero")
    tasks.Loader(standardise=True, augmentation=published)
    ```

    **Arguments:**

    - `degrees`: the range (smallest, largest) from which the angle is drawn uniformly. One number
      `d` means (-d, d).
    - `fill`: the pixels from outside of the original image. `"black"` makes them 0 in the stored
      image. `"zero"` makes them 0 in the inputs of the network: with `standardise` this is the mean
      of the channel, as if images were rotated after they were standardised (Dohare et al., 2024).
      The image then has floats. Outside of a stream the two are equal.

    **Raises:** `ValueError` for a number that is not positive, for a range without angles, or for
    an unknown `fill`.
    """

    smallest: Float[Array, ""]
    largest: Float[Array, ""]
    zero: Channels
    fill: str = eqx.field(static=True)

    def __init__(
        self,
        *,
        degrees: float | Float[Array, ""] | tuple[float, float] = 15.0,
        fill: Literal["black", "zero"] = "black",
    ):
        if isinstance(degrees, tuple):
            _check_range(degrees)
            smallest, largest = degrees
        else:
            check_above("degrees", degrees, 0)
            smallest, largest = -degrees, degrees
        if fill not in ("black", "zero"):
            raise ValueError(unknown_name("`fill`: Fill", str(fill), ("black", "zero")))
        self.smallest = jnp.asarray(smallest, dtype=float)
        self.largest = jnp.asarray(largest, dtype=float)
        self.zero = jnp.zeros(())
        self.fill = fill

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        angle = jax.random.uniform(key, minval=self.smallest, maxval=self.largest)
        if self.fill == "black":
            return rotated(image, angle)
        return rotated(image.astype(float), angle, outside=self.zero)

    def with_zero(self, zero: Channels) -> "Rotate":
        """Returns this rotation with `zero` as the pixels of `fill="zero"`."""
        return eqx.tree_at(lambda r: r.zero, self, zero) if self.fill == "zero" else self


class Compose(AbstractAugmentation):
    """Apply several changes in turn. Each has its own random draws."""

    changes: tuple[AbstractAugmentation, ...]

    def __call__(self, image: Image, key: PRNGKeyArray) -> Image:
        for i, change in enumerate(self.changes):
            image = change(image, jax.random.fold_in(key, i))
        return image

    def with_zero(self, zero: Channels) -> "Compose":
        return Compose(tuple(change.with_zero(zero) for change in self.changes))


def rotated(image: Image, degrees: Float[Array, ""], *, outside: float | Channels = 0) -> Image:
    """Rotate an image counter-clockwise about its centre, with nearest-neighbour sampling. Pixels
    from outside the original image are `outside`, one number for each channel or one for all."""
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
    return jnp.where(inside[:, :, None], taken, outside).astype(image.dtype)


def _check_range(degrees: tuple[float, float]) -> None:
    if any(isinstance(angle, Tracer) for angle in degrees):
        return
    low, high = (float(np.asarray(angle)) for angle in degrees)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(
            f"`degrees` is {degrees}, but must be a range (smallest, largest) of finite angles "
            "with smallest below largest: pass two such numbers, or one number d for (-d, d)."
        )
