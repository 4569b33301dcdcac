"""Places without a connection in a sparse layer: nobody reads them, nothing fresh comes there."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import arrays, learner_of, signal_at
from tables import permuted

from spectral import algorithms, models, probes
from spectral.algorithms import NormalizeProject
from spectral.algorithms._base._fresh import fresh_parameters
from spectral.algorithms._base._unit_groups import incoming_and_outgoing


@pytest.fixture
def model(getkey) -> Any:
    return models.MLP(3, 2, width=4, depth=2, density=0.5, key=getkey())


def filled(model, by=7.0):
    """With numbers where there are no connections."""
    for i in range(2):
        add = lambda layer: layer.weight + by * ~layer.mask
        model = eqx.tree_at(lambda m, i=i: m.layers[i].weight, model, add(model.layers[i]))
    return model


def assert_same(a, b):
    for x, y in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", ["l2", "l2_init", "wasserstein", "spectral_reg", "parseval"])
def test_penalties_act_on_connections_alone(make, model, getkey):
    algo, key = getattr(algorithms, make)(0.1), getkey()
    moved = jax.tree.map(lambda x: 1.1 * x + 0.1 if eqx.is_inexact_array(x) else x, model)
    moved = models.connected(moved)

    @eqx.filter_jit
    def penalised(first, now):
        _, state = algo.init(first, None, key=key)
        learner = learner_of(now, algo.optimiser)
        signal = signal_at(now, jnp.ones((1, 1, 3)))
        state = algo.update(learner, state, signal, key=key)[1]  # a power iteration follows
        return eqx.filter_value_and_grad(lambda m: algo.penalty(m, state))(now)

    value, grads = penalised(model, moved)
    assert_same((value, grads), penalised(filled(model), filled(moved)))
    assert value > 0
    for layer, grad in zip(model.layers[:2], grads.layers[:2], strict=True):
        np.testing.assert_array_equal(np.asarray(grad.weight) != 0, layer.mask)


def test_utilities_norms_and_projections_read_connections_alone(model, getkey):
    groups, results, stream = model.units(), [], permuted(num_tasks=1).stream
    norms = NormalizeProject().init(learner_of(model), key=getkey())
    signal = signal_at(model, jnp.ones((1, 1, 3)))
    for now in (model, filled(model)):
        learner = learner_of(now)
        after, _ = NormalizeProject().update(learner, norms, signal, key=getkey())
        norm = probes.WeightNorm()(learner, stream, None, key=getkey())
        assert_same(models.connected(after.model), model)
        results.append((incoming_and_outgoing(groups, now), norm))
    assert_same(*results)


def test_fresh_weights_come_where_the_connections_are(getkey):
    """As many as before, of the variance of the initialisation, where they are now."""
    model: Any = models.MLP(64, 10, width=100, density=0.1, key=getkey())
    rolled = jnp.roll(model.layers[0].mask, 1)
    model = eqx.tree_at(lambda m: m.layers[0].mask, model, rolled)
    draw = eqx.filter_jit(lambda model, key: fresh_parameters(model, key=key))
    fresh, other = (draw(model, getkey()) for _ in range(2))
    for layer, again, old in zip(fresh.layers, other.layers, model.layers[:-1], strict=False):
        np.testing.assert_array_equal(np.asarray(layer.weight) != 0, old.mask)
        weights = np.asarray(layer.weight)[np.asarray(old.mask)]
        variance = 2 / old.weight.shape[1]
        # Four standard errors: a uniform distribution has a kurtosis of 9/5.
        assert abs(weights.var() / variance - 1) < 4 * (0.8 / weights.size) ** 0.5
        assert not np.isin(weights, again.weight).any()
    first, second = (np.asarray(layer.weight).ravel() for layer in fresh.layers[:2])
    assert not np.isin(first[first != 0], second).any()
