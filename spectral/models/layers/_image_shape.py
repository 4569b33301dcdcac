"""Checks of the shape of an image."""

from jaxtyping import Array

from ..._arguments import check_count


def check_shape(in_shape: tuple[int, ...]) -> None:
    """**Raises:** `ValueError` if `in_shape` is not `(channels, height, width)`."""
    if len(in_shape) != 3:
        raise ValueError(
            f"`in_shape` is {in_shape}, but an image has three axes: pass its channels, height and "
            "width, such as (3, 32, 32)."
        )
    for length in in_shape:
        check_count("in_shape", length)


def check_image(x: Array, in_shape: tuple[int, ...]) -> None:
    """**Raises:** `ValueError` if the image `x` does not have the shape `in_shape`."""
    if x.shape != in_shape:
        step = f"make the network with `in_shape={x.shape}`, or reshape the images"
        if x.ndim != 3:
            step = "store images in an `ImageSet`, and leave `flat=True` out of the `Loader`"
        raise ValueError(
            f"`x` has shape {x.shape}, but this network takes images of shape {in_shape}, channels "
            f"first: {step}."
        )
