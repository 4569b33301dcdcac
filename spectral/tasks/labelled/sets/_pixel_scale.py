"""Shift and scale of pixels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def pixel_scale(
    name: str,
    pixels: UInt8[Array, "rows height width channels"],
    max_value: int,
    *,
    standardise: bool,
    per_channel: bool,
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"]]:
    """Returns the shift and the scale of inputs `(pixel - shift) / scale`.

    **Arguments:**

    - `name`: of the image set, for messages.
    - `pixels`: the training images.
    - `max_value`: the pixel value that means 1.0.
    - `standardise`: give the training images zero mean and unit variance; `False` maps pixels to
      [0, 1].
    - `per_channel`: one shift and scale for each channel; `False` gives one for all pixels.

    **Raises:** `ValueError` if pixels to be standardised are all equal.
    """
    pixel_array = np.asarray(pixels)
    axis, channels = ((0, 1, 2), pixels.shape[3:]) if per_channel else (None, ())
    shift, scale = np.zeros(channels), np.full(channels, float(max_value))
    if standardise:
        shift = np.asarray(pixel_array.mean(axis=axis))
        scale = np.asarray(pixel_array.std(axis=axis))
    if not scale.all():
        first = int(np.argmin(scale))
        part = f"channel {first} of {name!r}" if per_channel else repr(name)
        raise ValueError(
            f"`standardise` is True, but all pixels of {part} are {shift.flat[first]:g}, which "
            "have no variance: pass `standardise=False`."
        )
    return jnp.asarray(shift, dtype=float), jnp.asarray(scale, dtype=float)
