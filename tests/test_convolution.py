import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral.models import Convolution
from spectral.models._convolution import convolve


# (in, out, kernel, stride, padding, height, width)
CASES = [
    (3, 4, 3, 1, "same", 6, 5),
    (2, 3, 5, 1, "valid", 7, 6),
    (2, 3, 3, 2, "same", 6, 7),
    (2, 3, 1, 2, "same", 5, 6),
    (1, 2, 2, 1, "same", 4, 4),
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
    return convolve(x, weight, layer.stride, layer._margins) + layer.bias[:, None, None]


def example(case, getkey):
    channels, out, kernel, stride, padding, height, width = case
    layer = Convolution(channels, out, kernel, stride=stride, padding=padding, key=getkey())
    layer = eqx.tree_at(lambda c: c.bias, layer, jax.random.normal(getkey(), (out,)))
    return layer, jax.random.normal(getkey(), (channels, height, width))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("float64")
def test_a_convolution_by_its_definition(case, getkey):
    layer, x = example(case, getkey)
    out = layer(x)
    np.testing.assert_allclose(out, reference(layer, x), atol=1e-12)
    weight, patches = layer.weight.reshape(layer.weight.shape[0], -1), layer.patches(x)
    product = patches @ weight.T + layer.bias[None]
    np.testing.assert_allclose(product.T.reshape(out.shape), out, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("float64")
def test_the_form_for_other_devices_is_the_same_function(case, getkey):
    layer, x = example(case, getkey)
    out = convolved(layer, layer.weight, x)
    np.testing.assert_allclose(out, reference(layer, x), atol=1e-12)


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


def test_the_device_decides_how_it_is_computed(getkey):
    layer, x = example(CASES[0], getkey)
    step = jax.jit(lambda w: jax.grad(_loss)(w, layer, x[None]))
    for platform, convolved in (("cpu", False), ("cuda", True)):
        exported = jax.export.export(step, platforms=[platform])(layer.weight)
        assert ("stablehlo.convolution" in exported.mlir_module()) == convolved


def test_what_is_refused(getkey):
    layer = Convolution(3, 2, 5, padding="valid", key=getkey())
    with pytest.raises(ValueError, match=r"takes images \[3, H, W\]"):
        layer(jnp.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match="smaller than the kernel of side 5"):
        layer(jnp.zeros((3, 8, 4)))
    with pytest.raises(ValueError, match="`stride` is 0"):
        Convolution(3, 2, 5, stride=0, key=getkey())
