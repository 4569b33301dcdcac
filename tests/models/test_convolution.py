import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral.models import Convolution
from spectral.models.layers._image_product import convolve


# (in, out, kernel, stride, padding, height, width)
CASES = [
    (3, 4, 3, 1, "same", 6, 5),
    (2, 3, 5, 1, "valid", 7, 6),
    (2, 3, 3, 2, "same", 6, 7),
    (2, 3, 1, 2, "same", 5, 6),
    (1, 2, 2, 1, "same", 4, 4),
]
# Of more channels than an image has.
WIDER = [
    (5, 2, 3, 1, "same", 6, 5),
    (5, 3, 3, 2, "same", 6, 7),
    (6, 2, 3, 2, "valid", 8, 6),  # no position sees the last row and column
    (5, 2, 2, 2, "same", 4, 5),
]


def reference(layer, x):
    """The definition, pixel by pixel."""
    weight, side = np.asarray(layer.weight), layer.weight.shape[-1]
    before, after = ((side - 1) // 2, side // 2) if layer.padding == "same" else (0, 0)
    x = np.pad(np.asarray(x), ((0, 0), (before, after), (before, after)))
    rows = range(0, x.shape[1] - side + 1, layer.stride)
    columns = range(0, x.shape[2] - side + 1, layer.stride)
    out = [
        [(weight * x[:, i : i + side, j : j + side]).sum((1, 2, 3)) for j in columns] for i in rows
    ]
    return np.moveaxis(np.asarray(out), 2, 0) + np.asarray(layer.bias)[:, None, None]


def convolved(layer, weight, x):
    """XLA's convolution, channels first."""
    strides, margins = (layer.stride,) * 2, [layer._margins] * 2
    out = jax.lax.conv_general_dilated(x[None], weight, strides, margins)
    return out[0] + layer.bias[:, None, None]


def example(case, getkey):
    channels, out, kernel, stride, padding, height, width = case
    layer = Convolution(channels, out, kernel, stride=stride, padding=padding, key=getkey())
    layer = eqx.tree_at(lambda c: c.bias, layer, jax.random.normal(getkey(), (out,)))
    return layer, jax.random.normal(getkey(), (channels, height, width))


@pytest.mark.parametrize("case", CASES + WIDER[2:])
@pytest.mark.usefixtures("float64")
def test_a_convolution_by_its_definition(case, getkey):
    layer, x = example(case, getkey)
    out = layer(x)
    np.testing.assert_allclose(out, reference(layer, x), atol=1e-12)
    weight, patches = layer.weight.reshape(layer.weight.shape[0], -1), layer.patches(x)
    product = patches @ weight.T + layer.bias[None]
    np.testing.assert_allclose(product.T.reshape(out.shape), out, atol=1e-12)


def every_derivative(product, x, w, v, u):
    """A product with its first and second derivatives, forwards and backwards."""
    cost = lambda x, w: jnp.sum(jnp.sin(product(x, w)))
    return (
        jax.jvp(product, (x, w), (v, u)),
        jax.jvp(jax.grad(cost, (0, 1)), (x, w), (v, u)),
        # Through the transposes of the transposes.
        jax.grad(lambda x, w: jnp.vdot(jax.grad(cost)(x, w), v), (0, 1))(x, w),
    )


@pytest.mark.parametrize(
    ("case", "precision"),
    [
        *((case, "single") for case in (CASES[0], CASES[2], CASES[4], *WIDER)),
        *((case, "double") for case in (CASES[1], WIDER[1])),
    ],
)
def test_all_derivatives_of_the_product(case, precision, getkey):
    """On CPU single precision takes XLA's convolution, double precision products of matrices."""
    with jax.enable_x64(precision == "double"):
        layer, x = example(case, getkey)
        w = layer.weight.transpose(2, 3, 1, 0)
        x = jnp.stack([x, -x, 2 * x]).transpose(0, 2, 3, 1)
        v, u = jax.random.normal(getkey(), x.shape), jax.random.normal(getkey(), w.shape)
        strides, margins = (layer.stride,) * 2, [layer._margins] * 2

        def plain(x, w):
            order = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(x, w, strides, margins, dimension_numbers=order)

        ours = lambda x, w: convolve(x, w, stride=layer.stride, margins=layer._margins)
        both = jax.jit(lambda *a: [every_derivative(p, *a) for p in (ours, plain)])(x, w, v, u)
        rtol = 2e-4 if precision == "single" else 1e-9
        for a, b in zip(*map(jax.tree.leaves, both), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(jnp.abs(b).max()))


@pytest.mark.usefixtures("float64")
def test_a_kernel_for_every_example(getkey):
    """As under `jax.vmap` over seeds, and in gradients example by example."""
    layer, x = example(CASES[2], getkey)
    w = jax.random.normal(getkey(), (3, *layer.weight.transpose(2, 3, 1, 0).shape))
    x = jax.random.normal(getkey(), (3, 2, *x.transpose(1, 2, 0).shape))
    product = lambda x, w: convolve(x, w, stride=2, margins=(1, 1))
    cost = lambda x, w: jnp.sum(jnp.sin(product(x, w)))
    for axes in ((0, 0), (0, None)):
        arguments = [a if axis == 0 else a[0] for a, axis in zip((x, w), axes, strict=True)]
        each = [
            [a[i] if axis == 0 else a[0] for a, axis in zip((x, w), axes, strict=True)]
            for i in range(3)
        ]
        found = jax.vmap(jax.grad(cost, (0, 1)), in_axes=axes)(*arguments)
        for i in range(3):
            expected = jax.grad(cost, (0, 1))(*each[i])
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a[i], b, rtol=1e-9)


def _loss(weight, layer, x):
    layer = eqx.tree_at(lambda c: c.weight, layer, weight)
    return jnp.sum(jnp.tanh(jax.vmap(layer)(x)) ** 2)


def _loss_of_convolution(weight, layer, x):
    return jnp.sum(jnp.tanh(jax.vmap(lambda x: convolved(layer, weight, x))(x)) ** 2)


@pytest.mark.usefixtures("float64")
def test_derivatives_of_a_batch_inside_a_loop(getkey):
    layer, _ = example(CASES[2], getkey)
    x = jax.random.normal(getkey(), (3, 2, 6, 7))
    v = jax.random.normal(getkey(), layer.weight.shape)

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


@pytest.mark.parametrize("channels", [3, 8])
def test_on_cpu_channels_come_last_in_derivatives_too(channels, getkey):
    """In any other order XLA's convolution is tens of times slower inside a loop. The gradient of
    the kernel is no convolution there, nor is anything of the few channels of an image but the
    gradient of the image."""
    layer = Convolution(channels, 2, 3, key=getkey())
    x = jax.random.normal(getkey(), (channels, 6, 5))
    step = jax.jit(lambda w: jax.grad(lambda w, x: _loss(w, layer, x), (0, 1))(w, x[None]))
    on_cpu = _orders("cpu", step, layer.weight)
    assert len(on_cpu) == (1 if channels == 3 else 2)
    assert set(on_cpu) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert len(_orders("cuda", step, layer.weight)) == 3


def test_what_is_refused(getkey):
    layer = Convolution(3, 2, 5, padding="valid", key=getkey())
    with pytest.raises(ValueError, match=r"takes images \[3, H, W\]"):
        layer(jnp.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match="smaller than the kernel of side 5"):
        layer(jnp.zeros((3, 8, 4)))
    with pytest.raises(ValueError, match="`stride` is 0"):
        Convolution(3, 2, 5, stride=0, key=getkey())
