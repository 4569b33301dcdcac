import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import resnet

from spectral.models import apply_network, CReLU, pre_activations, ResNet18


def convolve(x, layer, stride):
    margin = layer.weight.shape[-1] // 2
    out = jax.lax.conv_general_dilated(x, layer.weight, (stride, stride), [(margin, margin)] * 2)
    return out + layer.bias[None, :, None, None]


def normalise(x, norm, statistics):
    """With the statistics of the batch, which are noted."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    statistics.append((mean, var))
    mean, var, scale, shift = (a[None, :, None, None] for a in (mean, var, norm.weight, norm.bias))
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + shift


def reference(model, x):
    statistics = []
    x = jnp.maximum(normalise(convolve(x, model.stem, 1), model.stem_norm, statistics), 0)
    for s, stage in enumerate(model.stages):
        for b, block in enumerate(stage):
            stride = 2 if s > 0 and b == 0 else 1
            y = normalise(convolve(x, block.first, stride), block.first_norm, statistics)
            y = convolve(jnp.maximum(y, 0), block.second, 1)
            y = normalise(y, block.second_norm, statistics)
            if s > 0 and b == 0:
                x = normalise(convolve(x, block.skip, stride), block.skip_norm, statistics)
            x = jnp.maximum(x + y, 0)
    x = x.mean((2, 3))
    for layer in model.dense[:-1]:
        x = jnp.maximum(x @ layer.weight.T + layer.bias[None], 0)
    return x @ model.dense[-1].weight.T + model.dense[-1].bias[None], statistics


def test_the_resnet_computes_what_it_says(getkey):
    model, state, shape = resnet(getkey())
    model = jax.tree.map(lambda p: p + 0.05 if eqx.is_inexact_array(p) else p, model)
    x = jax.random.normal(getkey(), (5, *shape))
    expected, statistics = jax.jit(lambda x: reference(model, x))(x)
    outputs, aux = eqx.filter_jit(apply_network)(model, state, x, inference=False)
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


def test_the_default_is_the_network_of_the_paper():
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


def test_a_fresh_network_goes_on_with_the_same_state(getkey):
    model, state, shape = resnet(getkey())
    twin = model.fresh(key=getkey())
    assert jax.tree.structure(twin) == jax.tree.structure(model)
    assert not np.allclose(twin.stem.weight, model.stem.weight)
    x = jax.random.normal(getkey(), (5, *shape))
    outputs, _ = eqx.filter_jit(apply_network)(twin, state, x, inference=False)
    assert np.isfinite(outputs).all()


def test_two_activations_for_each_unit_within_the_blocks(getkey):
    model, _, _ = resnet(getkey(), activation=CReLU(), blocks=(1,))
    assert model.stages[0][0].second.weight.shape == (2, 4, 3, 3)
    assert model.dense[-1].weight.shape == (3, 6)
    copies = {group.name: group.copies for group in model.units()}
    assert copies == {"stem": 1, "block_0_0_inner": 2, "block_0_0": 1, "dense_0": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blocks": (1, 0)}, "`blocks` is 0"), ({"width": 0}, "`width` is 0")],
)
def test_sizes_are_checked(options, message, getkey):
    with pytest.raises(ValueError, match=message):
        resnet(getkey(), **options)


def test_pre_activations_take_the_running_statistics(getkey):
    model, state, shape = resnet(getkey())
    inputs = jax.random.normal(getkey(), (3, *shape))

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
