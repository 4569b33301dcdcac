"""Plasticity injection keeps the function of the network and freezes its base."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from networks import ByKey, drawn, mlp
from signals import arrays
from tables import permuted

from spectral import algorithms, train_continual
from spectral.models import PlasticityInjection
from spectral.models.networks._frozen import thawed


KEY = jax.random.key(6)


def base() -> Any:
    return mlp(KEY, initialiser=ByKey()).model


def injected() -> PlasticityInjection:
    return eqx.filter_jit(lambda m: PlasticityInjection(m, key=KEY))(base())


@eqx.filter_jit
def run(model, inputs):
    return jax.vmap(model)(inputs)[0]


def moved(model):
    """The model with other parameters."""
    move = lambda x: jnp.asarray(np.asarray(x) + np.float32(0.1)) if eqx.is_inexact_array(x) else x
    return jax.tree.map(move, model)


def assert_frozen(before, after):
    for name in ("base", "beginning"):
        old, new = (jax.tree.leaves(getattr(m, name)) for m in (before, after))
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))


def test_injection_keeps_the_outputs_and_trains_a_new_network():
    old, model = base(), injected()
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    np.testing.assert_array_equal(run(model, inputs), run(old, inputs))
    # The floating-point arrays, which optimisers, penalties, noise and resets see, are those of g.
    for a, b, c in zip(arrays(model), arrays(old), arrays(model.trained), strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, c)
        assert a.ndim == 1 or not np.allclose(a, b)
    later = moved(model)
    assert_frozen(model, later)
    difference = np.asarray(run(later.trained, inputs)) - np.asarray(run(model.trained, inputs))
    assert np.abs(difference).max() > 0.01
    np.testing.assert_allclose(run(later, inputs), run(old, inputs) + difference, atol=1e-5)


def test_a_later_injection_keeps_the_outputs_of_the_trained_network():
    old = base()
    make = lambda m: PlasticityInjection(m, later=True, key=KEY)
    model = eqx.filter_jit(make)(old)
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    np.testing.assert_array_equal(run(model, inputs), run(old, inputs))
    assert len(arrays(model)) == len(arrays(old))  # one network is trained
    trained = moved(model)
    before = run(trained, inputs)
    assert not np.allclose(before, run(old, inputs))
    after = trained.inject()
    assert jax.tree.structure(after) == jax.tree.structure(trained)
    np.testing.assert_array_equal(run(after, inputs), before)
    # f is the network as it was trained, and g the one that `key` draws.
    for a, b, c in zip(arrays(thawed(after.base)), arrays(trained), arrays(after), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.allclose(b, c)
    for a, b in zip(arrays(after), arrays(injected()), strict=True):
        np.testing.assert_array_equal(a, b)
    later = moved(after)
    assert_frozen(after, later)
    difference = np.asarray(run(later.trained, inputs)) - np.asarray(run(after.trained, inputs))
    np.testing.assert_allclose(run(later, inputs), before + difference, atol=1e-5)
    with pytest.raises(ValueError, match="`later` is False, .* `PlasticityInjection"):
        injected().inject()


def test_weights_of_two_bytes_are_frozen_too():
    halved = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if eqx.is_inexact_array(x) else x, base()
    )
    model = PlasticityInjection(halved, key=KEY)
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.bfloat16)
    np.testing.assert_array_equal(run(model, inputs), run(halved, inputs))


@pytest.mark.slow
def test_training_does_not_change_the_base():
    setting = permuted(num_tasks=1)
    model = PlasticityInjection(setting.model, key=KEY)
    algo = algorithms.snp_l2(0.05, weight_decay=0.1, noise=0.01)
    learner, _ = train_continual(model, setting.stream, algo)
    assert_frozen(model, learner.model)
    pairs = zip(arrays(model), arrays(learner.model), strict=True)
    assert all(not np.array_equal(a, b) for a, b in pairs)


def test_units_belong_to_the_new_network():
    model = eqx.filter_eval_shape(lambda m: PlasticityInjection(m, key=KEY), base())
    groups = model.units()
    assert [group.name for group in groups] == ["hidden_0", "hidden_1"]
    for i, group in enumerate(groups):
        trained: Any = model.trained
        assert group.incoming[0].where(model) is trained.layers[i].weight
        fed: Any = group.outgoing[0].fed_bias
        assert fed(model) is trained.layers[i + 1].bias


def test_fresh_draws_both_networks():
    model = injected()
    again = eqx.filter_jit(lambda m: m.fresh(key=jax.random.key(7)))(model)
    assert jax.tree.structure(again) == jax.tree.structure(model)
    old, new = (np.asarray(m.base.layers[0].weight.bits) for m in (model, again))
    assert not np.array_equal(old, new)
    first = lambda m: np.asarray(m.layers[0].weight)
    frozen = new.view(np.float32)
    assert not np.array_equal(first(again.trained), first(model.trained))
    assert not np.array_equal(first(again.trained), frozen)


def test_running_statistics_are_rejected():
    model, _ = drawn(eqx.nn.make_with_state(BatchNormNetwork), KEY)
    with pytest.raises(ValueError, match="`base` has running statistics"):
        PlasticityInjection(model, key=KEY)
