"""Algorithms and probes ignore weights outside the mask of a sparse layer."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import GrowingClasses
from networks import drawn, mlp
from signals import arrays, learner_of, signal_at

from spectral import algorithms, models, probes
from spectral.algorithms import NormalizeProject
from spectral.algorithms._base._fresh import fresh_parameters
from spectral.algorithms._base._unit_groups import incoming_and_outgoing


KEY = jax.random.key(3)


def filled(model, by=7.0):
    """The model with `by` added outside the masks."""
    for i in range(2):
        layer = model.layers[i]
        weight = np.asarray(layer.weight) + by * ~np.asarray(layer.mask)
        weight = jnp.asarray(weight.astype(np.float32))
        model = eqx.tree_at(lambda m, i=i: m.layers[i].weight, model, weight)
    return model


def assert_same(a, b):
    for x, y in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def two_penalties(strength):
    """One keeps the initial weights as its state, the other one updates its state."""
    made = (algorithms.l2_init(strength), algorithms.spectral_reg(strength))
    penalties = tuple(penalty for algo in made for penalty in algo.penalties)
    assert len(penalties) == 2
    return algorithms.Algorithm(algorithms.sgd(strength), penalties=penalties)


@pytest.mark.parametrize(
    "make",
    [
        two_penalties,
        *(
            pytest.param(getattr(algorithms, recipe), marks=pytest.mark.slow)
            for recipe in ("l2", "l2_init", "wasserstein", "spectral_reg", "parseval")
        ),
    ],
)
def test_penalties_act_only_on_connections(make):
    model, algo = mlp(KEY, density=0.5).model, make(0.1)
    moved = jax.tree.map(lambda x: jnp.asarray(1.1 * np.asarray(x) + np.float32(0.1)), model)
    masks = [(layer.mask, layer.mask) for layer in model.layers[:-1]]
    at = lambda m: [layer.mask for layer in m.layers[:-1]]
    moved = filled(eqx.tree_at(at, moved, [mask for mask, _ in masks]), by=-0.1)

    @eqx.filter_jit
    def penalised(first, now):
        _, state = algo.init(first, None, key=KEY)
        learner = learner_of(now, algo.optimiser)
        signal = signal_at(now, jnp.ones((1, 1, 3)))
        state = algo.update(learner, state, signal, key=KEY)[1]  # a power iteration follows
        return eqx.filter_value_and_grad(lambda m: algo.penalty(m, state, signal.step))(now)

    value, grads = penalised(model, moved)
    assert_same((value, grads), penalised(filled(model), filled(moved)))
    assert value > 0
    for layer, grad in zip(model.layers[:2], grads.layers[:2], strict=True):
        np.testing.assert_array_equal(np.asarray(grad.weight) != 0, layer.mask)


def test_utilities_norms_and_projections_read_only_connections():
    model = mlp(KEY, density=0.5).model
    groups = model.units()
    stream = GrowingClasses(inputs=jnp.asarray(np.zeros((1, 3))), labels=jnp.asarray([0]))  # unused

    @eqx.filter_jit
    def read(model, now):
        norms = NormalizeProject().init(learner_of(model), key=KEY)
        signal, learner = signal_at(model, jnp.ones((1, 1, 3))), learner_of(now)
        after, _ = NormalizeProject().update(learner, norms, signal, key=KEY)
        norm = probes.WeightNorm()(learner, stream, None, key=KEY)
        return models.connected(after.model), (incoming_and_outgoing(groups, now), norm)

    results = [read(model, now) for now in (model, filled(model))]
    assert_same(*(result for _, result in results))
    for after, _ in results:
        assert_same(after, model)


def test_fresh_weights_are_drawn_only_for_connections():
    """The connections stay where they are, and their weights have the initial variance."""
    make = lambda key: models.MLP(64, 10, width=100, depth=2, density=0.1, key=key)
    model: Any = drawn(make, KEY, density=0.1)
    masks = [np.asarray(layer.mask) for layer in model.layers[:-1]]
    draw = eqx.filter_jit(lambda model, key: fresh_parameters(model, key=key))
    fresh, other = (draw(model, key).layers[:-1] for key in (KEY, jax.random.key(4)))
    drawn_weights = [[np.asarray(layer.weight) for layer in layers] for layers in (fresh, other)]
    for weight, again, mask in zip(*drawn_weights, masks, strict=True):
        np.testing.assert_array_equal(weight != 0, mask)
        weights = weight[mask]
        # Four standard errors: a uniform distribution has a kurtosis of 9/5.
        variance = 2 / weight.shape[1]
        assert abs(weights.var() / variance - 1) < 4 * (0.8 / weights.size) ** 0.5
        assert np.isin(weights, again).mean() < 0.01  # some numbers are drawn twice
    first, second = (weight[weight != 0] for weight in drawn_weights[0])
    assert np.isin(first, second).mean() < 0.01
