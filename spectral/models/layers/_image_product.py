"""The product of images and kernels as primitives that are fast inside compiled loops.

Inside a loop XLA computes a convolution on CPU well only where the channels come last, for the
image, the kernel and the result; in any other order it takes 20 to 50 times as long. The
derivatives of a convolution are convolutions again, which JAX writes in other orders. So the three
products of images, kernels and outputs are primitives here: each is linear in both arguments, the
derivatives of each are the other two, and on CPU each is written with channels last, or as one
product of matrices.
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
    """What the shapes of the two arguments do not say."""

    height: int
    width: int
    side: int  # of the kernel
    stride: int
    margins: tuple[int, int]  # zeros before and after the image, along both axes

    def positions(self, length: int) -> int:
        """Positions of the kernel along an axis of the image."""
        return (length + sum(self.margins) - self.side) // self.stride + 1


Images = Float[Array, "examples height width in"]
Kernel = Float[Array, "side side in out"]
Outputs = Float[Array, "examples rows columns out"]
Product = Callable[[Any, Any, Geometry], Any]


def convolve(images: Images, kernel: Kernel, *, stride: int, margins: tuple[int, int]) -> Outputs:
    """Slide the kernel, which is not flipped, over the images, with zeros around them."""
    geometry = Geometry(images.shape[1], images.shape[2], kernel.shape[0], stride, margins)
    if geometry.side == 1:
        # A product of matrices, and so are its derivatives.
        return jnp.einsum("nhwi,io->nhwo", images[:, ::stride, ::stride], kernel[0, 0])
    return _outputs.bind(images, kernel, geometry=geometry)


_ORDER = ("NHWC", "HWIO", "NHWC")


def _convolution(images: Images, kernel: Kernel, g: Geometry) -> Outputs:
    return jax.lax.conv_general_dilated(
        images, kernel, (g.stride, g.stride), [g.margins] * 2, dimension_numbers=_ORDER
    )


def _by_patches(images: Images, kernel: Kernel, g: Geometry) -> Outputs:
    """The convolution as patches times a matrix, which no loop and no precision slows down."""
    seen = windows(images, g)
    return seen.reshape(*seen.shape[:3], -1) @ kernel.reshape(-1, kernel.shape[3])


def windows(images: Images, g: Geometry) -> Float[Array, "examples rows columns offsets in"]:
    """What the kernel sees at each of its positions, row by row."""
    # Slices, for an index would be a gather, which is several times slower.
    padded = jnp.pad(images, ((0, 0), g.margins, g.margins, (0, 0)))
    rows, columns = (g.stride * (g.positions(n) - 1) + 1 for n in (g.height, g.width))
    shifted = [
        padded[:, i : i + rows : g.stride, j : j + columns : g.stride]
        for i in range(g.side)
        for j in range(g.side)
    ]
    return jnp.stack(shifted, axis=3)


def _transposed(product: Product) -> tuple[Product, Product]:
    """The transposes of a product in its first and its second argument."""

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


# Channels of an image, not of a layer: their patches are small, the pass forwards and the gradient
# of the kernel share them, and a convolution of them is slow.
_FEW = 4


def _forwards(images: Images, kernel: Kernel, g: Geometry) -> Outputs:
    """The convolution, with the channels last."""
    return (_by_patches if images.shape[3] <= _FEW else _convolution)(images, kernel, g)


def _to_images(outputs: Outputs, kernel: Kernel, g: Geometry) -> Images:
    """The transpose of `_convolution` in the images: the outputs, spread by the stride, under the
    kernel turned by 180 degrees."""
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
    """The transpose of `_convolution` in the kernel, as one product of matrices.

    An entry of the kernel is a sum over positions of the outputs and the images, moved against each
    other. Here the images are moved along the columns and the outputs along the rows, which for a
    kernel of 3 x 3 copies either three times, where patches would copy the images nine times.
    """
    if images.shape[3] <= _FEW:
        return _patches[1](images, outputs, g)
    # What they are made of would be computed anew for each of their copies.
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
    """The outputs, each at the row of the image that its row `i` of the kernel sees, with zeros in
    the others. What sees the margins is left out."""
    spread = g.stride * (g.positions(g.height) - 1) + 1
    before = i - g.margins[0]
    rows = (before, g.height - spread - before, g.stride - 1)
    zero = jnp.zeros((), outputs.dtype)
    return jax.lax.pad(outputs, zero, ((0, 0, 0), rows, (0, 0, 0), (0, 0, 0)))


def _primitive(
    name: str, loop: Product, product: Product, plain: Product, folds: bool
) -> Primitive:
    """A product that is computed as the device and the precision ask for.

    - `loop`: on CPU. XLA's fast convolution knows single precision alone.
    - `product`: a product of matrices: on CPU otherwise, and where a batch has a kernel for every
        example.
    - `plain`: on other devices, where XLA knows best.
    - `folds`: a batch of first arguments is no more than further examples.
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

# With y = x * w, each product is the derivative of <y, v> = <x * w, v> in one of the three.
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
