"""A convolution of images that is fast inside compiled loops."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int, check_count, unknown_name
from ._channels_last import channels_last
from ._image_product import convolve, Geometry, windows
from ._initialisers import AbstractInitialiser, LecunNormal


_LECUN_NORMAL = LecunNormal()
_LARGEST_KERNEL = 100  # its rows and columns are written out one after the other


class Convolution(eqx.Module):
    """A convolution of an image `[in, H, W]` with a square kernel. Returns `[out, H', W']`.

    As usual in deep learning, the kernel is not flipped (this is a cross-correlation).

    On CPU, XLA's convolutions and their derivatives are 20 to 50 times slower inside a loop
    (`jax.lax.scan`) than outside. This one is as fast inside as outside; see `convolve`.

    ```python
    layer = Convolution(3, 32, 5, key=jax.random.key(0))
    layer(jnp.zeros((3, 32, 32)))          # [32, 32, 32]
    layer.patches(jnp.zeros((3, 32, 32)))  # [1024, 75]
    ```
    """

    weight: Float[Array, "out in kernel kernel"]
    bias: Float[Array, " out"] | None
    stride: int = eqx.field(static=True, converter=as_int)
    padding: Literal["same", "valid"] = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: Literal["same", "valid"] = "same",
        use_bias: bool = True,
        initialiser: AbstractInitialiser = _LECUN_NORMAL,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_channels`, `out_channels`: channels of the input and of the output.
        - `kernel_size`: side of the kernel in pixels.
        - `stride`: pixels from one position to the next, along both axes.
        - `padding`: `"same"` adds `(kernel_size - 1) // 2` zeros before and `kernel_size // 2`
          zeros after the image along each axis, so the output has ceil(H / stride) rows. For an odd
          kernel this is PyTorch's `padding=kernel_size // 2`. `"valid"` adds no zeros.
        - `use_bias`: whether to add a bias to each output channel.
        - `initialiser`: draws the weight and the bias.

        **Raises:** `ValueError` if a size is below 1, `kernel_size` is above 100 or `padding` is
        unknown.
        """
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        check_count("kernel_size", kernel_size, maximum=_LARGEST_KERNEL)
        check_count("stride", stride)
        if padding not in ("same", "valid"):
            raise ValueError(f"`padding`: {unknown_name('Name', padding, ('same', 'valid'))}")
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight, bias = initialiser(key, shape)
        self.bias = bias if use_bias else None
        self.stride = stride
        self.padding = padding
        self.use_bias = use_bias

    def __call__(self, x: Float[Array, "in height width"]) -> Float[Array, "out rows columns"]:
        """**Raises:** `ValueError` if `x` does not have `in_channels` channels, or if
        `padding="valid"` and the image is smaller than the kernel."""
        self._check(x)
        # As in a matrix product, the wider type of the two.
        dtype = jnp.promote_types(x.dtype, self.weight.dtype)
        x, kernel = x.astype(dtype), self.weight.astype(dtype).transpose(2, 3, 1, 0)

        def convolved(image: Float[Array, "height width in"]) -> Float[Array, "rows columns out"]:
            out = convolve(image[None], kernel, stride=self.stride, margins=self._margins)[0]
            return out if self.bias is None else out + self.bias[None, None]

        return channels_last(convolved, x)

    def patches(self, x: Float[Array, "in height width"]) -> Float[Array, "positions inputs"]:
        """The patch of the image under the kernel at each position, in row-major order of the
        output.

        The inputs have the order of the weights: without a bias, the output at position p is
        `weight.reshape(out, -1) @ patches(x)[p]`.
        """
        self._check(x)
        _, height, width = x.shape
        side = self.weight.shape[-1]
        geometry = Geometry(height, width, side, self.stride, self._margins)
        seen = windows(x.transpose(1, 2, 0)[None], geometry)[0]
        return seen.swapaxes(2, 3).reshape(seen.shape[0] * seen.shape[1], -1)

    @property
    def _margins(self) -> tuple[int, int]:
        side = self.weight.shape[-1]
        return ((side - 1) // 2, side // 2) if self.padding == "same" else (0, 0)

    def _check(self, x: Array) -> None:
        channels, side = self.weight.shape[1], self.weight.shape[-1]
        if x.ndim != 3 or x.shape[0] != channels:
            raise ValueError(
                f"`x` has shape {x.shape}, but this convolution takes images [{channels}, H, W]: "
                "put the channels first, and vmap over the examples of a batch."
            )
        if self.padding == "valid" and min(x.shape[1:]) < side:
            raise ValueError(
                f"`x` has shape {x.shape}, which is smaller than the kernel of side {side}: give "
                'larger images, or use `padding="same"`.'
            )
