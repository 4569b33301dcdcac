"""The residual network against NumPy."""

import equinox as eqx
import jax
import numpy as np
import pytest
from networks import ByKey, resnet, shifted
from numpy_layers import convolve, dense

from spectral.models import apply_network, CReLU, FanOutNormal, pre_activations, ResNet18


KEY = jax.random.key(0)
BY_KEY = {"initialiser": ByKey(), "dense_initialiser": ByKey()}
applied = eqx.filter_jit(apply_network)


def normalise(x, norm, statistics):
    """With the statistics of the batch, which are noted."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    statistics.append((mean, var))
    rows = (mean, var, np.asarray(norm.weight), np.asarray(norm.bias))
    mean, var, scale, shift = (a[None, :, None, None] for a in rows)
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def reference(model, x):
    statistics = []

    def normalised(x, layer, norm, stride=1):
        margins = (layer.weight.shape[-1] // 2,) * 2
        y = convolve(x, layer.weight, layer.bias, stride=stride, margins=margins)
        return normalise(y, norm, statistics)

    x = np.maximum(normalised(x, model.stem, model.stem_norm), 0)
    for s, stage in enumerate(model.stages):
        for b, block in enumerate(stage):
            stride = 2 if s > 0 and b == 0 else 1
            y = np.maximum(normalised(x, block.first, block.first_norm, stride), 0)
            y = normalised(y, block.second, block.second_norm)
            if s > 0 and b == 0:
                x = normalised(x, block.skip, block.skip_norm, stride)
            x = np.maximum(x + y, 0)
    x = x.mean((2, 3))
    for layer in model.dense[:-1]:
        x = np.maximum(dense(x, layer), 0)
    return dense(x, model.dense[-1]), statistics


def images(shape):
    return np.random.default_rng(1).normal(size=(5, *shape)).astype(np.float32)


def test_resnet_against_numpy():
    model, state, shape = resnet(KEY, **BY_KEY)
    model = shifted(model, 0.05)
    expected, statistics = reference(model, images(shape))
    outputs, aux = applied(model, state, jax.device_put(images(shape)), inference=False)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)
    assert aux.model_state is not None
    norms = [model.stem_norm]
    for block in (block for stage in model.stages for block in stage):
        norms += [block.first_norm, block.second_norm]
        norms += [] if block.skip_norm is None else [block.skip_norm]
    assert len(norms) == len(statistics)
    for norm, (mean, var) in zip(norms, statistics, strict=True):
        kept_mean, kept_var = aux.model_state.get(norm.statistics)
        np.testing.assert_allclose(kept_mean, 0.1 * mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(kept_var, 0.9 + 0.1 * var, rtol=1e-3, atol=1e-5)


def test_fresh_network_uses_the_same_state():
    model, state, shape = resnet(KEY, **BY_KEY)
    twin = eqx.filter_jit(lambda m: m.fresh(key=KEY))(model)
    assert jax.tree.structure(twin) == jax.tree.structure(model)
    assert not np.allclose(twin.stem.weight, model.stem.weight)
    outputs, _ = applied(twin, state, jax.device_put(images(shape)), inference=False)
    expected, _ = reference(twin, images(shape))
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


def test_the_default_is_the_network_of_the_paper():
    model = eqx.filter_eval_shape(lambda key: ResNet18((3, 32, 32), 100, key=key), KEY)
    assert model.stem.weight.shape == (64, 3, 3, 3)
    blocks = [block for stage in model.stages for block in stage]
    assert [b.second.weight.shape[0] for b in blocks] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [b.first.stride for b in blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [b.skip is None for b in blocks] == [True, True, False, True, False, True, False, True]
    assert [layer.weight.shape for layer in model.dense] == [(512, 512), (512, 512), (100, 512)]
    assert all(b.first.bias is not None for b in blocks)
    assert (model.initialiser, model.dense_initialiser) == (FanOutNormal(), FanOutNormal(scale=1))
    options = {"blocks": (1,), "dense_sizes": ()}
    bare = eqx.filter_eval_shape(lambda key: ResNet18((3, 8, 8), 100, **options, key=key), KEY)
    assert [layer.weight.shape for layer in bare.dense] == [(100, 64)]


def test_two_activations_for_each_unit_within_the_blocks():
    model, _, _ = resnet(KEY, activation=CReLU(), blocks=(1,))
    assert model.stages[0][0].second.weight.shape == (2, 4, 3, 3)
    assert model.dense[-1].weight.shape == (3, 6)
    copies = {group.name: group.copies for group in model.units()}
    assert copies == {"stem": 1, "block_0_0_inner": 2, "block_0_0": 1, "dense_0": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blocks": (1, 0)}, "`blocks` is 0"), ({"width": 0}, "`width` is 0")],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        resnet(KEY, **options)


def test_pre_activations_use_the_running_statistics():
    model, state, shape = resnet(KEY, blocks=(1,))
    inputs = jax.device_put(images(shape))

    @eqx.filter_jit
    def both(model, state):
        taps = apply_network(model, state, inputs, inference=True)[1].taps
        return pre_activations(model, inputs, model_state=state), taps

    pre, taps = both(model, state)
    assert set(pre) == {group.name for group in model.units()}
    for name, values in pre.items():
        np.testing.assert_allclose(np.maximum(values, 0), taps[name], atol=1e-6)
        assert (np.asarray(values) < 0).any()
    with pytest.raises(ValueError, match="ResNet18 keeps running statistics, but `model_state`"):
        pre_activations(model, inputs)
