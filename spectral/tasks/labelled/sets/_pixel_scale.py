"""Shift and scale of pixels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._image_set import ImageSet


def pixel_scale(
    images: ImageSet, *, standardise: bool, per_channel: bool
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"]]:
    """Returns the shift and the scale of inputs `(pixel - shift) / scale`.

    **Arguments:**

    - `standardise`: give the training images zero mean and unit variance; `False` maps pixels to
      [0, 1].
    - `per_channel`: one shift and scale for each channel; `False` gives one for all pixels.

    **Raises:** `ValueError` if pixels to be standardised are all equal.
    """
    pixels = np.asarray(images.train_images)
    axis, channels = ((0, 1, 2), pixels.shape[3:]) if per_channel else (None, ())
    shift, scale = np.zeros(channels), np.full(channels, float(images.max_value))
    if standardise:
        shift, scale = np.asarray(pixels.mean(axis=axis)), np.asarray(pixels.std(axis=axis))
    if not scale.all():
        first = int(np.argmin(scale))
        part = f"channel {first} of {images.name!r}" if per_channel else repr(images.name)
        raise ValueError(
            f"`standardise` is True, but all pixels of {part} are {shift.flat[first]:g}, which "
            "have no variance: pass `standardise=False`."
        )
    return jnp.asarray(shift, dtype=float), jnp.asarray(scale, dtype=float)
