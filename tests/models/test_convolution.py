"""Convolutions and their derivatives against the definition, and how they are lowered."""

import inspect
import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral.models import Convolution
from spectral.models.layers._image_product import convolve, Geometry, windows


# (in, out, kernel, stride, padding, height, width)
FEW = [  # channels, as an image has
    (3, 4, 3, 1, "same", 6, 5),
    (2, 3, 5, 1, "valid", 7, 6),
    (2, 3, 3, 2, "same", 6, 7),
    (2, 3, 1, 2, "same", 5, 6),
    (1, 2, 2, 1, "same", 4, 4),
]
MANY = [
    (5, 2, 3, 1, "same", 6, 5),
    (5, 3, 3, 2, "same", 6, 7),
    (6, 2, 3, 2, "valid", 8, 6),  # no position sees the last row and column
    (5, 2, 2, 2, "same", 4, 5),
]
slow = pytest.mark.slow


def layer_of(case, rng) -> Convolution:
    channels, out, side, stride, padding, _, _ = case
    make = lambda key: Convolution(channels, out, side, stride=stride, padding=padding, key=key)
    layer = eqx.filter_eval_shape(make, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape)), layer)


def margins(case):
    _, _, side, _, padding, _, _ = case
    return ((side - 1) // 2, side // 2) if padding == "same" else (0, 0)


def definition(case) -> np.ndarray:
    """The convolution as a tensor: `[rows, columns, height, width, side, side]`, which is 1 where
    this pixel of the image and of the kernel meet at this position."""
    _, _, side, stride, _, height, width = case
    before, after = margins(case)
    sizes = [(n + before + after - side) // stride + 1 for n in (height, width)]
    tensor = np.zeros((*sizes, height, width, side, side))
    for r, c, i, j in itertools.product(*map(range, (*sizes, side, side))):
        row, column = stride * r + i - before, stride * c + j - before
        if 0 <= row < height and 0 <= column < width:
            tensor[r, c, row, column, i, j] = 1
    return tensor


def products(case):
    """The convolution and its transposes in the image and in the kernel, by definition."""
    tensor = definition(case)
    contract = lambda equation, a, b: np.einsum(equation, tensor, a, b, optimize=True)
    return (
        lambda x, w: contract("rchwij,nhwa,ijao->nrco", x, w),
        lambda v, w: contract("rchwij,nrco,ijao->nhwa", v, w),
        lambda x, v: contract("rchwij,nhwa,nrco->ijao", x, v),
    )


@pytest.mark.usefixtures("float64")
def test_convolutions_match_their_definition():
    rng, cases = np.random.default_rng(0), [FEW[0], FEW[2], *MANY[2:]]
    layers = [layer_of(case, rng) for case in cases]
    images = [rng.normal(size=(case[0], *case[5:])) for case in cases]
    both = eqx.filter_jit(
        lambda fs, xs: [(f(x), f.patches(x)) for f, x in zip(fs, xs, strict=True)]
    )
    for case, layer, x, (out, patches) in zip(
        cases, layers, images, both(layers, images), strict=True
    ):
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        expected = products(case)[0](x.transpose(1, 2, 0)[None], weight.transpose(2, 3, 1, 0))[0]
        np.testing.assert_allclose(out, expected.transpose(2, 0, 1) + bias[:, None, None])
        product = np.asarray(patches) @ weight.reshape(bias.size, -1).T + bias
        np.testing.assert_allclose(product.T.reshape(out.shape), out, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (FEW[4], np.float32),
        (MANY[2], np.float32),
        (MANY[3], np.float64),
        *(
            pytest.param(case, dtype, marks=slow)
            for case in FEW + MANY
            for dtype in (np.float32, np.float64)
        ),
    ],
)
def test_all_derivatives_of_the_product(case, dtype):
    """On CPU single precision uses XLA's convolution, and double precision uses matrix products."""
    rng = np.random.default_rng(1)
    channels, out, side, stride, _, height, width = case
    draw = lambda *shape: rng.normal(size=shape).astype(dtype)
    x, dx = draw(3, height, width, channels), draw(3, height, width, channels)
    w, dw = draw(side, side, channels, out), draw(side, side, channels, out)
    outputs, to_images, to_kernel = products(case)
    y = outputs(x, w)
    v, dv = draw(*y.shape), draw(*y.shape)

    def product(x, w):
        return convolve(x, w, stride=stride, margins=margins(case))

    def backward(x, w, v):
        return jax.vjp(product, x, w)[1](v)

    @jax.jit
    def derivatives(primals, tangents):
        first = jax.jvp(product, primals[:2], tangents[:2])
        second = jax.jvp(backward, primals, tangents)
        return first, second, jax.vjp(backward, *primals)[1](tangents[:2])

    with jax.enable_x64(dtype is np.float64):
        found = jax.tree.leaves(derivatives((x, w, v), (dx, dw, dv)))
    expected = [
        y,
        outputs(dx, w) + outputs(x, dw),
        to_images(v, w),
        to_kernel(x, v),
        to_images(dv, w) + to_images(v, dw),
        to_kernel(dx, v) + to_kernel(x, dv),
        # Through the transposes of the transposes.
        to_images(v, dw),
        to_kernel(dx, v),
        outputs(dx, w) + outputs(x, dw),
    ]
    rtol = 2e-4 if dtype is np.float32 else 1e-9
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("axes", [(0, 0), pytest.param((0, None), marks=slow), (1, None)])
def test_a_kernel_for_every_example(axes):
    """This happens under `jax.vmap` over seeds, and in gradients of single examples."""
    rng, case = np.random.default_rng(2), FEW[2]
    channels, out, side, _, _, height, width = case
    x = rng.normal(size=(3, 2, height, width, channels))
    w = rng.normal(
        size=(3, side, side, channels, out) if axes[1] == 0 else (side, side, channels, out)
    )
    y, to_images, to_kernel = products(case)

    def loss(x, w):
        return jnp.sum(convolve(x, w, stride=2, margins=(1, 1)) ** 2) / 2

    given = np.moveaxis(x, 0, axes[0])
    found = jax.jit(jax.vmap(jax.grad(loss, (0, 1)), in_axes=axes))(given, w)
    for i in range(3):
        kernel = w[i] if axes[1] == 0 else w
        v = y(x[i], kernel)
        np.testing.assert_allclose(found[0][i], to_images(v, kernel), rtol=1e-9)
        np.testing.assert_allclose(found[1][i], to_kernel(x[i], v), rtol=1e-9)


def _loss(weight, layer, x):
    layer = eqx.tree_at(lambda c: c.weight, layer, weight)
    return jnp.sum(jnp.tanh(jax.vmap(layer)(x)) ** 2)


def _loss_of_convolution(weight, layer, x):
    """The same with XLA's convolution, channels first."""
    padding = [layer._margins] * 2
    outputs = jax.lax.conv_general_dilated(x, weight, (layer.stride,) * 2, padding)
    return jnp.sum(jnp.tanh(outputs + layer.bias[None, :, None, None]) ** 2)


@slow
@pytest.mark.usefixtures("float64")
def test_derivatives_of_a_batch_inside_a_loop():
    rng = np.random.default_rng(3)
    layer = layer_of(FEW[2], rng)
    x, v = jnp.asarray(rng.normal(size=(3, 2, 6, 7))), rng.normal(size=layer.weight.shape)

    def descend(loss):
        def step(weight, _):
            grad, product = jax.jvp(jax.grad(lambda w: loss(w, layer, x)), (weight,), (v,))
            return weight - 0.01 * grad, product

        return jax.jit(lambda w: jax.lax.scan(step, w, length=3))(layer.weight)

    ours, theirs = descend(_loss), descend(_loss_of_convolution)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, theirs)
    _, product = jax.linearize(jax.grad(lambda w: _loss(w, layer, x)), layer.weight)
    np.testing.assert_allclose(product(v), ours[1][0], rtol=1e-9)


def _orders(platform, step, weight):
    """The orders of axes of the convolutions in a program."""
    text = jax.export.export(step, platforms=[platform])(weight).mlir_module()
    return re.findall(r"stablehlo.convolution.*dim_numbers = (.*?), window", text)


@pytest.mark.parametrize("channels", [4, 5])
def test_on_cpu_channels_come_last_in_derivatives_too(channels):
    """With any other order XLA's convolution is tens of times slower inside a loop. On CPU the
    gradient of the kernel does not use a convolution, and images of few channels use one only for
    the gradient of the image."""
    layer = layer_of((channels, 2, 3, 1, "same", 6, 5), np.random.default_rng(4))
    x = jnp.ones((channels, 6, 5))
    step = jax.jit(lambda w: jax.grad(lambda w, x: _loss(w, layer, x), (0, 1))(w, x[None]))
    on_cpu = _orders("cpu", step, layer.weight)
    assert len(on_cpu) == (1 if channels == 4 else 2)
    assert set(on_cpu) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert len(_orders("cuda", step, layer.weight)) == 3


def test_patches_are_put_together_by_columns_and_then_by_rows():
    """One slice for every pixel of the kernel makes pieces of a pixel, which are slow to copy."""
    geometry = Geometry(7, 6, 5, 2, (1, 2))
    images = np.arange(2 * 7 * 6 * 3, dtype=np.float32).reshape(2, 7, 6, 3)
    program = jax.make_jaxpr(lambda x: windows(x, geometry))(images)
    assert str(program).count("= slice[") == 2 * 5
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    found = jax.jit(windows, static_argnums=1)(images, geometry)
    for r, c, i, j in itertools.product(range(3), range(3), range(5), range(5)):
        expected = padded[:, 2 * r + i, 2 * c + j]
        np.testing.assert_array_equal(found[:, r, c, 5 * i + j], expected)


def test_arguments_are_checked():
    layer = layer_of((3, 2, 5, 1, "valid", 8, 8), np.random.default_rng(5))
    with pytest.raises(ValueError, match=r"takes images \[3, H, W\]"):
        layer(jnp.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match="smaller than the kernel of side 5"):
        layer(jnp.zeros((3, 8, 4)))
    with pytest.raises(ValueError, match="`stride` is 0"):
        Convolution(3, 2, 5, stride=0, key=jax.random.key(0))
    with pytest.raises(
        ValueError, match="`padding`: Name 'smae' does not exist.*did you mean 'same'"
    ):
        inspect.unwrap(Convolution.__init__)(layer, 3, 2, 5, padding="smae", key=jax.random.key(0))
