"""Products of images and kernels, as primitives that are fast inside compiled loops.

On CPU, XLA computes a convolution inside a loop well only if the channels come last in the image,
the kernel and the result; with any other order it takes 20 to 50 times as long. The derivatives of
a convolution are convolutions again, but JAX writes them with other orders. The three products of
images, kernels and outputs are therefore primitives here. Each is linear in both arguments, the
derivatives of each are the other two, and on CPU each is written with channels last or as one
matrix product.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


class Geometry(NamedTuple):
    """The parameters of a product that the shapes of its two arguments do not determine."""

    height: int
    width: int
    side: int  # of the kernel
    stride: int
    margins: tuple[int, int]  # zeros before and after the image, along both axes

    def positions(self, length: int) -> int:
        """The number of positions of the kernel along an axis of the image."""
        return (length + sum(self.margins) - self.side) // self.stride + 1


Images = Float[Array, "examples height width in"]
Kernel = Float[Array, "side side in out"]
Outputs = Float[Array, "examples rows columns out"]
Product = Callable[[Any, Any, Geometry], Any]


def convolve(images: Images, kernel: Kernel, *, stride: int, margins: tuple[int, int]) -> Outputs:
    """Cross-correlate zero-padded images with a kernel."""
    geometry = Geometry(images.shape[1], images.shape[2], kernel.shape[0], stride, margins)
    if geometry.side == 1:
        # A matrix product, whose derivatives are matrix products too.
        return jnp.einsum("nhwi,io->nhwo", images[:, ::stride, ::stride], kernel[0, 0])
    return _outputs.bind(images, kernel, geometry=geometry)


_ORDER = ("NHWC", "HWIO", "NHWC")
# Inputs with at most this many channels are images rather than activations. Their patches are small
# and are shared by the forward pass and the gradient of the kernel; XLA's convolution of them is
# slow.
_FEW = 4


def _convolution(images: Images, kernel: Kernel, g: Geometry) -> Outputs:
    return jax.lax.conv_general_dilated(
        images, kernel, (g.stride, g.stride), [g.margins] * 2, dimension_numbers=_ORDER
    )


def _by_patches(images: Images, kernel: Kernel, g: Geometry) -> Outputs:
    """The convolution as patches times a matrix, equally fast in loops and in any precision."""
    seen = windows(images, g)
    return seen.reshape(*seen.shape[:3], -1) @ kernel.reshape(-1, kernel.shape[3])


def windows(images: Images, g: Geometry) -> Float[Array, "examples rows columns offsets in"]:
    """The patch under the kernel at each of its positions, in row-major order."""
    # Slices, because indexing would be a gather, which is several times slower.
    padded = jnp.pad(images, ((0, 0), g.margins, g.margins, (0, 0)))
    rows, columns = (g.stride * (g.positions(n) - 1) + 1 for n in (g.height, g.width))
    offsets, step = range(g.side), g.stride
    if images.shape[3] > _FEW:
        pieces = [
            padded[:, i : i + rows : step, j : j + columns : step] for i in offsets for j in offsets
        ]
        return jnp.stack(pieces, axis=3)
    # XLA copies the channels of each pixel by themselves. If there are few, it is faster to put the
    # columns of a patch together first, and then its rows, in pieces that are `side` times as long.
    wide = jnp.concatenate([padded[:, :, j : j + columns : step] for j in offsets], axis=3)
    seen = jnp.concatenate([wide[:, i : i + rows : step] for i in offsets], axis=3)
    return seen.reshape(*seen.shape[:3], g.side**2, images.shape[3])


def _transposed(product: Product) -> tuple[Product, Product]:
    """The transposes of a product with respect to its first and to its second argument."""

    def to_images(outputs: Outputs, kernel: Kernel, g: Geometry) -> Images:
        shape = (outputs.shape[0], g.height, g.width, kernel.shape[2])
        images = jax.ShapeDtypeStruct(shape, outputs.dtype)
        return jax.linear_transpose(lambda x: product(x, kernel, g), images)(outputs)[0]

    def to_kernel(images: Images, outputs: Outputs, g: Geometry) -> Kernel:
        shape = (g.side, g.side, images.shape[3], outputs.shape[3])
        kernel = jax.ShapeDtypeStruct(shape, outputs.dtype)
        return jax.linear_transpose(lambda w: product(images, w, g), kernel)(outputs)[0]

    return to_images, to_kernel


_patches, _plain = _transposed(_by_patches), _transposed(_convolution)


def _forwards(images: Images, kernel: Kernel, g: Geometry) -> Outputs:
    """The convolution with channels last."""
    return (_by_patches if images.shape[3] <= _FEW else _convolution)(images, kernel, g)


def _to_images(outputs: Outputs, kernel: Kernel, g: Geometry) -> Images:
    """The transpose of `_convolution` with respect to the images: a convolution of the outputs,
    dilated by the stride, with the kernel rotated by 180 degrees."""
    before = g.side - 1 - g.margins[0]
    spread = [(g.positions(n) - 1) * g.stride + 1 for n in (g.height, g.width)]
    after = [n + g.side - 1 - s - before for n, s in zip((g.height, g.width), spread, strict=True)]
    return jax.lax.conv_general_dilated(
        outputs,
        jnp.flip(kernel, (0, 1)).swapaxes(2, 3),
        (1, 1),
        [(before, a) for a in after],
        lhs_dilation=(g.stride, g.stride),
        dimension_numbers=_ORDER,
    )


def _to_kernel(images: Images, outputs: Outputs, g: Geometry) -> Kernel:
    """The transpose of `_convolution` with respect to the kernel, as one matrix product.

    Each entry of the kernel is a sum over positions of outputs times shifted images. Here the
    images are shifted along the columns and the outputs along the rows. A 3 x 3 kernel then needs
    three copies of each, whereas patches would need nine copies of the images.
    """
    if images.shape[3] <= _FEW:
        return _patches[1](images, outputs, g)
    # Without the barrier, XLA would recompute both for each of their copies.
    images, outputs = jax.lax.optimization_barrier((images, outputs))
    padded = jnp.pad(images, ((0, 0), (0, 0), g.margins, (0, 0)))
    columns = g.stride * (g.positions(g.width) - 1) + 1
    seen = [padded[:, :, j : j + columns : g.stride] for j in range(g.side)]
    moved = [_under_rows(outputs, i, g) for i in range(g.side)]
    rows = lambda copies: jnp.concatenate(copies, 3).reshape(-1, g.side * copies[0].shape[3])
    pairs = rows(seen).T @ rows(moved)
    shape = g.side, images.shape[3], g.side, outputs.shape[3]
    return pairs.reshape(shape).transpose(2, 0, 1, 3)


def _under_rows(outputs: Outputs, i: int, g: Geometry) -> Float[Array, "n height columns out"]:
    """The outputs, each moved to the row of the image that lies under row `i` of the kernel. All
    other rows are zero, and rows that fall into the margins are dropped."""
    spread = g.stride * (g.positions(g.height) - 1) + 1
    before = i - g.margins[0]
    rows = (before, g.height - spread - before, g.stride - 1)
    zero = jnp.zeros((), outputs.dtype)
    return jax.lax.pad(outputs, zero, ((0, 0, 0), rows, (0, 0, 0), (0, 0, 0)))


def _primitive(
    name: str, loop: Product, product: Product, plain: Product, folds: bool
) -> Primitive:
    """A product whose implementation depends on the device and the precision.

    - `loop`: used on CPU in single precision, the only precision of XLA's fast convolution.
    - `product`: a matrix product. Used on CPU in other precisions, and under `jax.vmap` if every
      example has its own kernel.
    - `plain`: used on other devices.
    - `folds`: whether a batch of first arguments can be treated as more examples.
    """
    primitive = Primitive(name)

    def on_cpu(a: Array, b: Array, geometry: Geometry) -> Array:
        return (loop if a.dtype == jnp.float32 else product)(a, b, geometry)

    def elsewhere(a: Array, b: Array, geometry: Geometry) -> Array:
        return plain(a, b, geometry)

    def abstract(a: Any, b: Any, *, geometry: Geometry) -> Any:
        made = jax.eval_shape(lambda a, b: plain(a, b, geometry), a, b)
        return ShapedArray(made.shape, made.dtype)

    def batched(arguments: Any, axes: Any, *, geometry: Geometry) -> tuple[Array, int]:
        (a, b), (i, j) = arguments, axes
        if folds and j is None:
            a = jnp.moveaxis(a, i, 0)
            out = primitive.bind(a.reshape(-1, *a.shape[2:]), b, geometry=geometry)
            return out.reshape(*a.shape[:2], *out.shape[1:]), 0
        each = lambda f: jax.vmap(lambda a, b: f(a, b, geometry), in_axes=(i, j))
        return jax.lax.platform_dependent(a, b, cpu=each(product), default=each(plain)), 0

    primitive.def_impl(jax.jit(primitive.bind, static_argnames="geometry"))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(elsewhere, multiple_results=False))
    mlir.register_lowering(
        primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu"
    )
    return primitive


_outputs = _primitive("convolution", _forwards, _by_patches, _convolution, folds=True)
_images = _primitive("image_gradient", _to_images, _patches[0], _plain[0], folds=True)
_kernel = _primitive("kernel_gradient", _to_kernel, _to_kernel, _plain[1], folds=False)

# With y = x * w, each product is the derivative of <y, v> = <x * w, v> with respect to one of v, x
# and w.
ad.defbilinear(
    _outputs,
    lambda v, x, w, geometry: _images.bind(v, w, geometry=geometry),
    lambda v, x, w, geometry: _kernel.bind(x, v, geometry=geometry),
)
ad.defbilinear(
    _images,
    lambda x, v, w, geometry: _outputs.bind(x, w, geometry=geometry),
    lambda x, v, w, geometry: _kernel.bind(x, v, geometry=geometry),
)
ad.defbilinear(
    _kernel,
    lambda w, x, v, geometry: _images.bind(v, w, geometry=geometry),
    lambda w, x, v, geometry: _outputs.bind(x, w, geometry=geometry),
)
