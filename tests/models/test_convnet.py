"""The convolutional network against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import ByKey, convnet, shifted
from numpy_layers import convolve, dense, max_pool as pool

from spectral.models import apply_network, ConvNet
from spectral.models.layers._initialised import max_pool


KEY = jax.random.key(0)


def reference(model, x):
    for layer in model.convolutions:
        side = layer.weight.shape[-1]
        margins = ((side - 1) // 2, side // 2) if model.padding == "same" else (0, 0)
        x = pool(np.maximum(convolve(x, layer.weight, layer.bias, margins=margins), 0))
    x = x.reshape(x.shape[0], -1)
    for layer in model.dense[:-1]:
        x = np.maximum(dense(x, layer), 0)
    return dense(x, model.dense[-1])


@pytest.mark.parametrize("padding", ["same", pytest.param("valid", marks=pytest.mark.slow)])
def test_convnet_against_numpy(padding):
    """Outputs, and the gradient of a function of them along one direction of each parameter."""
    model, _, shape = convnet(KEY, padding=padding)
    model = shifted(model, 0.05)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, *shape)).astype(np.float32)

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def measured(model):
        outputs = apply_network(model, None, jnp.asarray(x), inference=False)[0]
        return jnp.sum(jnp.sin(outputs)), outputs

    (_, outputs), grads = measured(model)
    np.testing.assert_allclose(outputs, reference(model, x), rtol=1e-3, atol=1e-5)
    values, structure = jax.tree.flatten(jax.tree.map(lambda p: np.asarray(p, np.float64), model))
    for i, grad in enumerate(map(np.asarray, jax.tree.leaves(grads))):
        direction = rng.normal(size=grad.shape)

        def moved(step, i=i, direction=direction):
            near = [v + step * direction if j == i else v for j, v in enumerate(values)]
            return np.sin(reference(jax.tree.unflatten(structure, near), x)).sum()

        slope = (moved(1e-7) - moved(-1e-7)) / 2e-7
        np.testing.assert_allclose(np.sum(grad * direction), slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("padding", "flattened"), [("same", 2048), ("valid", 512)])
def test_the_default_is_the_network_of_the_paper(padding, flattened):
    model = eqx.filter_eval_shape(
        lambda key: ConvNet((3, 32, 32), 2, padding=padding, key=key), KEY
    )
    shapes = [layer.weight.shape for layer in (*model.convolutions, *model.dense)]
    assert shapes == [
        (32, 3, 5, 5),
        (64, 32, 3, 3),
        (128, 64, 3, 3),
        (128, flattened),
        (128, 128),
        (2, 128),
    ]
    image = jax.ShapeDtypeStruct((3, 32, 32), jnp.float32)
    taps = eqx.filter_eval_shape(lambda m, x: m(x)[1], model, image)
    assert list(taps) == ["conv_0", "conv_1", "conv_2", "dense_0", "dense_1"]
    assert taps["conv_1"].shape == ((64, 16, 16) if padding == "same" else (64, 12, 12))


def test_the_gradient_of_pooling_goes_to_the_first_maximum():
    pooled = jax.jit(lambda x: (max_pool(x), jax.grad(lambda x: jnp.sum(max_pool(x)))(x)))
    x = np.ones((1, 4, 4), np.float32)
    np.testing.assert_array_equal(pooled(x)[1][0], np.tile([[1, 0], [0, 0]], (2, 2)))
    for i in range(2):
        for j in range(2):
            bad = x.copy()
            bad[0, i, j] = np.nan
            assert np.isnan(np.asarray(pooled(bad)[0])).ravel().tolist() == [True] + 3 * [False]


def test_fresh_has_the_same_shape_and_other_weights():
    model, _, _ = convnet(KEY, padding="valid", layer_norm=True, initialiser=ByKey())
    twin = eqx.filter_jit(lambda m: m.fresh(key=KEY))(model)
    assert jax.tree.structure(twin) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(twin), strict=True):
        assert a.shape == b.shape
    for a, b in zip(model.convolutions + model.dense, twin.convolutions + twin.dense, strict=True):
        assert not np.allclose(a.weight, b.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (3,)}, r"`kernels` is \(3,\), but there are 2 channels"),
        ({"dense_sizes": (0,)}, "`dense_sizes` is 0"),
        ({"channels": (3, 0)}, "`out_channels` is 0"),
        ({"kernels": (9, 3), "padding": "valid"}, "nothing is left of such an image"),
    ],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        convnet(KEY, **options)


def test_shapes_of_images_are_checked():
    with pytest.raises(ValueError, match="an image has three axes"):
        ConvNet((32, 32), 2, key=KEY)
    model, _, _ = convnet(KEY)
    with pytest.raises(ValueError, match=r"takes images of shape \(2, 12, 10\)"):
        model(jax.device_put(np.zeros((12, 10, 2))))
