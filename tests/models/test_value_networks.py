"""Networks of action values: MinAtar's, and the dueling head."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import models
from spectral.models import ConvNet, Dueling, minatar_network, MLP


KEY = jax.random.key(2)
SMALL: dict[str, Any] = {"channels": (2,), "kernels": (3,), "dense_sizes": (3,)}


def filled(make, seed=0):
    """A network with numbers of NumPy for its weights, so that drawing them compiles nothing."""
    rng = np.random.default_rng(seed)
    fill = lambda x: jnp.asarray(rng.normal(size=x.shape).astype(x.dtype))
    is_array = lambda x: isinstance(x, jax.ShapeDtypeStruct)
    made = eqx.filter_eval_shape(make, KEY)
    return jax.tree.map(lambda x: fill(x) if is_array(x) else x, made)


def weights(layers):
    return [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in layers]


@eqx.filter_jit
def outputs_and_entries(model, x, chosen):
    """The outputs and taps, and what belongs to chosen units of the last group of two."""
    return model(x), models.entries_of(model, model.units()[chosen[0]], chosen[1])


def test_the_network_of_minatars_authors():
    """`QNetwork` of their examples/dqn.py: `conv`, `fc_hidden` and `output`."""
    made = eqx.filter_eval_shape(lambda k: minatar_network((4, 10, 10), 3, key=k), KEY)
    names = models.to_state_dict(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), made))
    assert {name: array.shape for name, array in names.items()} == {
        "0.weight": (16, 4, 3, 3),
        "0.bias": (16,),
        "3.weight": (128, 16 * 8 * 8),
        "3.bias": (128,),
        "5.weight": (3, 128),
        "5.bias": (3,),
    }
    taps = eqx.filter_eval_shape(lambda m: m(jnp.zeros((4, 10, 10)))[1], made)
    shapes = {name: tap.shape for name, tap in taps.items()}
    assert shapes == {"conv_0": (16, 8, 8), "dense_0": (128,)}


def test_a_convnet_without_pooling():
    """The outputs are those of NumPy, and each channel feeds its own columns of the dense layer."""
    make = lambda k: ConvNet((2, 5, 4), 2, pooling=False, padding="valid", **SMALL, key=k)
    model = filled(make)
    x = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    (kernel, shift), (inner, bias), (outer, last) = weights((*model.convolutions, *model.dense))
    seen = np.einsum("chwij,ocij->ohw", windows, kernel) + shift[:, None, None]
    seen = np.maximum(seen, 0)
    expected = outer @ np.maximum(inner @ seen.reshape(-1) + bias, 0) + last
    chosen = (0, jnp.asarray([False, True]))
    (outputs, taps), marked = outputs_and_entries(model, jnp.asarray(x), chosen)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(taps["conv_0"], seen, rtol=1e-5, atol=1e-5)
    assert (model.units()[0].outgoing[0].repeat, model.units()[0].seen) == (6, None)
    columns = np.broadcast_to(np.arange(12) >= 6, (3, 12))
    np.testing.assert_array_equal(marked.dense[0].weight, columns)
    fresh = eqx.filter_eval_shape(lambda k: model.fresh(key=k), KEY)
    assert not fresh.pooling
    assert fresh.dense[0].weight.shape == (3, 12)
    with pytest.raises(ValueError, match=r'`padding="valid"` without pooling: pass larger'):
        ConvNet((2, 2, 2), 2, pooling=False, padding="valid", **SMALL, key=KEY)


def test_the_dueling_head():
    """The values are V + A - mean(A), and the last hidden units feed both."""
    model = filled(lambda k: Dueling(MLP(3, 4, width=5, depth=2, key=k), key=k))
    x = np.asarray([0.5, -1.0, 2.0], np.float32)
    chosen = (1, jnp.arange(5) == 1)
    (values, taps), marked = outputs_and_entries(model, jnp.asarray(x), chosen)
    hidden = x
    *layers, (outer, last) = weights(model.network.layers)
    for inner, bias in layers:
        hidden = np.maximum(inner @ hidden + bias, 0)
    advantages = outer @ hidden + last
    (weight, bias) = weights([model.value])[0]
    expected = (weight @ hidden + bias) + advantages - advantages.mean()
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(taps["hidden_1"], hidden, rtol=1e-4, atol=1e-5)
    groups = models.unit_groups(model)
    assert [(group.name, len(group.outgoing)) for group in groups] == [
        ("hidden_0", 1),
        ("hidden_1", 2),
    ]
    np.testing.assert_array_equal(marked.value.weight, [[False, True, False, False, False]])
    assert np.asarray(marked.network.layers[-1].weight).sum() == 4
    assert not np.asarray(marked.network.layers[0].weight).any()
    again = eqx.filter_eval_shape(lambda k: model.fresh(key=k), KEY)
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, model)


def test_dueling_heads_of_other_networks():
    options: dict[str, Any] = {**SMALL, "activation": models.CReLU(), "dueling": True}
    made = eqx.filter_eval_shape(lambda k: minatar_network((1, 4, 4), 2, **options, key=k), KEY)
    assert isinstance(made, Dueling)
    assert made.value.weight.shape == (1, 6)
    assert made.units()[-1].outgoing[-1].tile == 2
    linear = eqx.filter_eval_shape(lambda k: MLP(3, 2, depth=0, key=k), KEY)
    with pytest.raises(ValueError, match="`network` is a MLP without a dense hidden layer"):
        Dueling(linear, key=KEY)
    convolutions: dict[str, Any] = {**options, "dense_sizes": ()}
    with pytest.raises(ValueError, match="`network` is a ConvNet without a dense hidden layer"):
        eqx.filter_eval_shape(lambda k: minatar_network((1, 4, 4), 2, **convolutions, key=k), KEY)
