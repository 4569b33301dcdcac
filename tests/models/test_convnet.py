"""The convolutional network against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import ByKey, convnet
from signals import numpy_map

from spectral.models import apply_network, ConvNet
from spectral.models.layers._initialised import max_pool


KEY = jax.random.key(3)


def convolve(x, layer, padding):
    weight = np.asarray(layer.weight)
    side = weight.shape[-1]
    before, after = ((side - 1) // 2, side // 2) if padding == "same" else (0, 0)
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
    outputs = np.einsum("nchwij,ocij->nohw", windows, weight)
    return outputs + np.asarray(layer.bias)[:, None, None]


def pool(x):
    n, channels, height, width = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))


def reference(model, x):
    for layer in model.convolutions:
        x = pool(np.maximum(convolve(x, layer, model.padding), 0))
    x = x.reshape(x.shape[0], -1)
    for layer in model.dense[:-1]:
        x = np.maximum(x @ np.asarray(layer.weight).T + np.asarray(layer.bias), 0)
    return x @ np.asarray(model.dense[-1].weight).T + np.asarray(model.dense[-1].bias)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_convnet_matches_numpy(padding):
    model, _, shape = convnet(KEY, padding=padding)
    model = numpy_map(lambda p: p + np.float32(0.05), model)
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    apply = eqx.filter_jit(lambda model, x: apply_network(model, None, x, inference=False)[0])
    outputs = apply(model, jnp.asarray(x))
    np.testing.assert_allclose(outputs, reference(model, x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("padding", "flattened"), [("same", 2048), ("valid", 512)])
def test_the_defaults_match_the_paper(padding, flattened):
    model = eqx.filter_eval_shape(
        lambda key: ConvNet((3, 32, 32), 2, padding=padding, key=key), jax.random.key(0)
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
    taps = eqx.filter_eval_shape(lambda m: m(jnp.zeros((3, 32, 32)))[1], model)
    assert list(taps) == ["conv_0", "conv_1", "conv_2", "dense_0", "dense_1"]
    assert taps["conv_1"].shape == ((64, 16, 16) if padding == "same" else (64, 12, 12))


def test_the_gradient_of_pooling_goes_to_the_first_maximum():
    both = jax.jit(lambda x: (max_pool(x), jax.grad(lambda x: jnp.sum(max_pool(x)))(x)))
    x = np.ones((1, 4, 4), np.float32)
    np.testing.assert_array_equal(both(x)[1][0], np.tile([[1, 0], [0, 0]], (2, 2)))
    for place in ((0, 0, 0), (0, 1, 1)):
        with_nan = x.copy()
        with_nan[place] = np.nan
        assert np.isnan(both(with_nan)[0][0, 0, 0])


def test_fresh_has_the_same_shape_and_other_weights():
    model = convnet(KEY, padding="valid", layer_norm=True, initialiser=ByKey()).model
    twin = eqx.filter_jit(lambda model, key: model.fresh(key=key))(model, KEY)
    assert jax.tree.structure(twin) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(twin), strict=True):
        assert a.shape == b.shape
    layers = (*twin.convolutions, *twin.dense)
    assert len({float(np.ravel(layer.weight)[0]) for layer in layers}) == len(layers)
    for a, b in zip(layers, (*model.convolutions, *model.dense), strict=True):
        assert not np.allclose(a.weight, b.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (3,)}, r"`kernels` is \(3,\), but there are 2 channels"),
        ({"dense_sizes": (0,)}, "`dense_sizes` is 0"),
        ({"channels": (3, 0)}, "`out_channels` is 0"),
        ({"kernels": (9, 3), "padding": "valid"}, "Nothing is left of such an image"),
    ],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        convnet(KEY, **options)


def test_shapes_of_images_are_checked():
    with pytest.raises(ValueError, match="an image has three axes"):
        ConvNet((32, 32), 2, key=KEY)
    last = r"32 channels of 32 x 3 pixels, because channels come first.* or \(3, 32, 32\) if yours"
    with pytest.raises(ValueError, match=last):
        ConvNet((32, 32, 3), 10, key=KEY)
    model = convnet(KEY).model
    with pytest.raises(ValueError, match=r"takes images of shape \(2, 12, 10\)"):
        model(jnp.zeros((12, 10, 2)))
