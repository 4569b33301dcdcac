"""The residual network against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import ByKey, resnet
from signals import numpy_map

from spectral.models import apply_network, CReLU, Elementwise, pre_activations, ResNet18
from spectral.models.networks._residual_block import ResidualBlock


KEY = jax.random.key(3)
RELU = Elementwise(jax.nn.relu)


def convolve(x, layer, stride):
    weight = np.asarray(layer.weight)
    side = weight.shape[-1]
    margin = side // 2
    x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
    outputs = np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], weight)
    return outputs + np.asarray(layer.bias)[:, None, None]


def normalise(x, norm, statistics):
    """Normalise with the statistics of the batch, and append these to `statistics`."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    statistics.append((mean, var))
    arrays = (mean, var, np.asarray(norm.weight), np.asarray(norm.bias))
    mean, var, scale, shift = (a[None, :, None, None] for a in arrays)
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def dense(x, layer):
    return x @ np.asarray(layer.weight).T + np.asarray(layer.bias)


def reference(model, x):
    statistics = []
    x = np.maximum(normalise(convolve(x, model.stem, 1), model.stem_norm, statistics), 0)
    for s, stage in enumerate(model.stages):
        for b, block in enumerate(stage):
            stride = 2 if s > 0 and b == 0 else 1
            y = normalise(convolve(x, block.first, stride), block.first_norm, statistics)
            y = convolve(np.maximum(y, 0), block.second, 1)
            y = normalise(y, block.second_norm, statistics)
            if s > 0 and b == 0:
                x = normalise(convolve(x, block.skip, stride), block.skip_norm, statistics)
            x = np.maximum(x + y, 0)
    x = x.mean((2, 3))
    for layer in model.dense[:-1]:
        x = np.maximum(dense(x, layer), 0)
    return dense(x, model.dense[-1]), statistics


@eqx.filter_jit
def trained(model, state, x):
    outputs, aux = apply_network(model, state, x, inference=False)
    return outputs, aux.model_state


def test_the_resnet_matches_numpy():
    model, state, shape = resnet(KEY)
    model = numpy_map(lambda p: p + np.float32(0.05), model)
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    expected, statistics = reference(model, x.astype(np.float64))
    outputs, kept = trained(model, state, jnp.asarray(x))
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)
    assert kept is not None
    norms = [model.stem_norm]
    for block in (block for stage in model.stages for block in stage):
        norms += [block.first_norm, block.second_norm]
        norms += [] if block.skip_norm is None else [block.skip_norm]
    assert len(norms) == len(statistics)
    for norm, (mean, var) in zip(norms, statistics, strict=True):
        kept_mean, kept_var = kept.get(norm.statistics)
        np.testing.assert_allclose(kept_mean, 0.1 * mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(kept_var, 0.9 + 0.1 * var, rtol=1e-3, atol=1e-5)


def test_the_defaults_match_the_paper():
    model = eqx.filter_eval_shape(
        lambda key: ResNet18((3, 32, 32), 100, key=key), jax.random.key(0)
    )
    assert model.stem.weight.shape == (64, 3, 3, 3)
    blocks = [block for stage in model.stages for block in stage]
    assert [b.second.weight.shape[0] for b in blocks] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [b.first.stride for b in blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [b.skip is None for b in blocks] == [True, True, False, True, False, True, False, True]
    assert [layer.weight.shape for layer in model.dense] == [(512, 512), (512, 512), (100, 512)]
    assert all(b.first.bias is not None for b in blocks)
    bare = eqx.filter_eval_shape(
        lambda key: ResNet18((3, 32, 32), 100, dense_sizes=(), key=key), jax.random.key(0)
    )
    assert [layer.weight.shape for layer in bare.dense] == [(100, 512)]


def test_a_fresh_network_uses_the_same_state():
    """Its structure holds the indices of that state."""
    options = {"initialiser": ByKey(), "dense_initialiser": ByKey()}
    model, state, shape = resnet(KEY, **options)
    twin = eqx.filter_jit(lambda model, key: model.fresh(key=key))(model, KEY)
    assert jax.tree.structure(twin) == jax.tree.structure(model)
    layers = [twin.stem, *twin.dense]
    layers += [getattr(b, n) for stage in twin.stages for b in stage for n in ("first", "second")]
    assert len({float(np.ravel(layer.weight)[0]) for layer in layers}) == len(layers)
    assert not np.allclose(twin.stem.weight, model.stem.weight)
    apply = lambda model, state, x: apply_network(model, state, x, inference=False)[0]
    x = jax.ShapeDtypeStruct((5, *shape), jnp.float32)
    assert eqx.filter_eval_shape(apply, twin, state, x).shape == (5, 3)


def test_a_block_has_a_skip_convolution_if_its_shape_changes():
    options = {"inner": RELU, "outer": RELU, "initialiser": ByKey(), "density": 1.0}
    for channels, stride, changes in ((2, 1, False), (3, 1, True), (2, 2, True)):
        make = lambda key, n=channels, s=stride: ResidualBlock(2, n, stride=s, **options, key=key)
        block = eqx.filter_eval_shape(make, KEY)
        assert (block.skip is not None) == (block.skip_norm is not None) == changes


def test_crelu_is_used_inside_the_blocks():
    model = resnet(KEY, activation=CReLU(), blocks=(1,)).model
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


def test_pre_activations_take_the_running_statistics():
    model, state, shape = resnet(KEY, blocks=(1,), dense_sizes=())
    statistics = tuple(jnp.asarray(x, jnp.float32) for x in ([0.3, -0.2], [2.0, 0.5]))
    state = state.set(model.stem_norm.statistics, statistics)
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(3, *shape)), jnp.float32)

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
