import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convnet

from spectral.models import apply_network, ConvNet
from spectral.models.layers._initialised import max_pool


def convolve(x, layer, padding):
    side = layer.weight.shape[-1]
    margins = [((side - 1) // 2, side // 2)] * 2 if padding == "same" else "VALID"
    return (
        jax.lax.conv_general_dilated(x, layer.weight, (1, 1), margins) + layer.bias[:, None, None]
    )


def pool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def reference(model, x):
    for layer in model.convolutions:
        x = pool(jnp.maximum(convolve(x, layer, model.padding), 0))
    x = x.reshape(x.shape[0], -1)
    for layer in model.dense[:-1]:
        x = jnp.maximum(x @ layer.weight.T + layer.bias, 0)
    return x @ model.dense[-1].weight.T + model.dense[-1].bias


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_convnet_computes_what_it_says(padding, getkey):
    with jax.numpy_rank_promotion("allow"):
        model, _, shape = convnet(getkey(), padding=padding)
        model = jax.tree.map(lambda p: p + 0.05 if eqx.is_inexact_array(p) else p, model)
        x = jax.random.normal(getkey(), (3, *shape))

        def both(function):
            """Outputs and a gradient."""
            value = lambda m: (jnp.sum(jnp.sin(function(m, x))), function(m, x))
            return eqx.filter_jit(eqx.filter_value_and_grad(value, has_aux=True))(model)

        a = jax.tree.leaves(both(lambda m, x: apply_network(m, None, x, inference=False)[0]))
        b = jax.tree.leaves(both(reference))
        for own, other in zip(a, b, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("padding", "flattened"), [("same", 2048), ("valid", 512)])
def test_the_default_is_the_network_of_the_paper(padding, flattened):
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


def test_the_gradient_of_pooling_goes_to_the_first_of_the_largest():
    grad = jax.grad(lambda x: jnp.sum(max_pool(x)))(jnp.ones((1, 4, 4)))
    np.testing.assert_array_equal(grad[0], np.tile([[1, 0], [0, 0]], (2, 2)))
    x = jnp.ones((1, 4, 4)).at[0, 0, 0].set(jnp.nan)
    assert np.isnan(max_pool(x)[0, 0, 0])
    assert np.isnan(max_pool(x.at[0, 0, 0].set(1).at[0, 1, 1].set(jnp.nan))[0, 0, 0])


def test_fresh_has_the_same_shape_and_other_weights(getkey):
    model, _, _ = convnet(getkey(), padding="valid", layer_norm=True)
    twin = model.fresh(key=getkey())
    assert jax.tree.structure(twin) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(twin), strict=True):
        assert a.shape == b.shape
    assert not np.allclose(twin.dense[0].weight, model.dense[0].weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (3,)}, r"`kernels` is \(3,\), but there are 2 channels"),
        ({"dense_sizes": (0,)}, "`dense_sizes` is 0"),
        ({"channels": (3, 0)}, "`out_channels` is 0"),
        ({"kernels": (9, 3), "padding": "valid"}, "nothing is left of such an image"),
    ],
)
def test_sizes_are_checked(options, message, getkey):
    with pytest.raises(ValueError, match=message):
        convnet(getkey(), **options)


def test_shapes_of_images_are_checked(getkey):
    with pytest.raises(ValueError, match="an image has three axes"):
        ConvNet((32, 32), 2, key=getkey())
    model, _, _ = convnet(getkey())
    with pytest.raises(ValueError, match=r"takes images of shape \(2, 12, 10\)"):
        model(jnp.zeros((12, 10, 2)))
