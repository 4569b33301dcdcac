"""The convolution of an image, fast inside compiled loops."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._arguments import check_count, unknown_name
from ._initialisers import AbstractInitialiser, LecunNormal


_LECUN_NORMAL = LecunNormal()


class Convolution(eqx.Module):
    """A convolution of an image `[in, H, W]` with a square kernel, giving `[out, H', W']`.

    As everywhere in deep learning the kernel is not flipped (it is a correlation).

    On CPU this is computed as patches times a matrix: XLA's own convolution is 20 to 50 times
    slower inside a loop (`jax.lax.scan`) than outside it. On other devices it is XLA's convolution.
    The choice is made when the program is compiled, for the device it is compiled for.

    ```python
    layer = Convolution(3, 32, 5, key=jax.random.key(0))
    layer(jnp.zeros((3, 32, 32)))          # [32, 32, 32]
    layer.patches(jnp.zeros((3, 32, 32)))  # [1024, 75]
    ```
    """

    weight: Float[Array, "out in kernel kernel"]
    bias: Float[Array, " out"] | None
    stride: int = eqx.field(static=True)
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
        - `padding`: `"same"` adds zeros, `(kernel_size - 1) // 2` before and `kernel_size // 2`
          after, so that the output has ceil(H / stride) rows; for an odd kernel this is PyTorch's
          `padding=kernel_size // 2`. `"valid"` adds none.
        - `use_bias`: whether there is one number for each output channel to be added.
        - `initialiser`: how weight and bias are drawn.

        **Raises:** `ValueError` for a size below one or an unknown padding.
        """
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        check_count("kernel_size", kernel_size)
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
        """**Raises:** `ValueError` if the channels of `x` are not those of the kernel, or a valid
        convolution has no position in so small an image."""
        self._check(x)
        stride, margins = self.stride, self._margins
        out = jax.lax.platform_dependent(
            x,
            self.weight,
            cpu=lambda x, weight: convolve_by_patches(x, weight, stride, margins),
            default=lambda x, weight: convolve(x, weight, stride, margins),
        )
        return out if self.bias is None else out + self.bias[:, None, None]

    def patches(self, x: Float[Array, "in height width"]) -> Float[Array, "positions inputs"]:
        """What the kernel sees at each position, row by row of the output.

        The inputs are in the order of the weights: without a bias, the output at position p is
        `weight.reshape(out, -1) @ patches(x)[p]`.
        """
        self._check(x)
        windows = _windows(x, self.weight.shape[-1], self.stride, self._margins)
        return windows.swapaxes(2, 3).reshape(windows.shape[0] * windows.shape[1], -1)

    @property
    def _margins(self) -> tuple[int, int]:
        side = self.weight.shape[-1]
        return ((side - 1) // 2, side // 2) if self.padding == "same" else (0, 0)

    def _check(self, x: Array) -> None:
        channels, side = self.weight.shape[1], self.weight.shape[-1]
        if x.ndim != 3 or x.shape[0] != channels:
            raise ValueError(
                f"`x` has shape {x.shape}, but this convolution takes images [{channels}, H, W]: "
                "put the channels first, and map over the examples of a batch with `jax.vmap`."
            )
        if self.padding == "valid" and min(x.shape[1:]) < side:
            raise ValueError(
                f"`x` has shape {x.shape}, which is smaller than the kernel of side {side}: give "
                'larger images, or use `padding="same"`.'
            )


def convolve(
    x: Float[Array, "in height width"],
    weight: Float[Array, "out in kernel kernel"],
    stride: int,
    margins: tuple[int, int],
) -> Float[Array, "out rows columns"]:
    """XLA's convolution."""
    return jax.lax.conv_general_dilated(x[None], weight, (stride, stride), [margins] * 2)[0]


def convolve_by_patches(
    x: Float[Array, "in height width"],
    weight: Float[Array, "out in kernel kernel"],
    stride: int,
    margins: tuple[int, int],
) -> Float[Array, "out rows columns"]:
    """The same as patches times a matrix."""
    windows = _windows(x, weight.shape[-1], stride, margins)
    rows, columns = windows.shape[:2]
    # The products of a batch are one product, since its images are further rows of this one.
    matrix = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
    out = windows.reshape(rows * columns, -1) @ matrix
    return out.T.reshape(-1, rows, columns)


def _windows(
    x: Float[Array, "in height width"], side: int, stride: int, margins: tuple[int, int]
) -> Float[Array, "rows columns offsets in"]:
    # Slices, for an index would be a gather, which is several times slower; channels last, so that
    # what is copied is contiguous.
    x = jnp.pad(x, ((0, 0), margins, margins)).transpose(1, 2, 0)
    last_row, last_column = x.shape[0] - side + 1, x.shape[1] - side + 1
    shifted = [
        x[i : i + last_row : stride, j : j + last_column : stride]
        for i in range(side)
        for j in range(side)
    ]
    return jnp.stack(shifted, axis=2)
