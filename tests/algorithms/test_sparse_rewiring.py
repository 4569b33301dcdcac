"""Sparse evolutionary training against NumPy, and what it keeps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convnet, mlp, Network
from signals import learner_of, signal_at

from spectral import algorithms, Learner, models
from spectral.algorithms import SparseRewiring


def sparse_mlp(key):
    """Its hidden layers and the names of the groups that their outputs are."""
    return mlp(key, density=0.6), lambda m: m.layers[:-1]


def sparse_pictures(key):
    return convnet(key, density=0.5), lambda m: (*m.convolutions, *m.dense[:-1])


def trained(network: Network) -> Learner:
    """With moments, none of which are zero."""
    learner = learner_of(network.model, algorithms.adam(0.1))
    params = eqx.filter(network.model, eqx.is_inexact_array)
    optimiser = learner.optimiser.apply(jax.tree.map(jnp.ones_like, params), network.model)[1]
    return Learner(network.model, None, optimiser)


SIGNAL = signal_at(models.MLP(1, 1, depth=0, key=jax.random.key(0)), jnp.ones((1, 1, 1)))


@eqx.filter_jit
def rewired(transform, learner, key):
    return transform.update(learner, None, SIGNAL, key=key)[0]


@pytest.mark.parametrize("make", [sparse_mlp, sparse_pictures])
def test_one_step_against_numpy(make, getkey):
    network, layers_of = make(getkey())
    learner, key = trained(network), getkey()
    after: Any = rewired(SparseRewiring(fraction=0.4), learner, key)
    old, new = layers_of(network.model), layers_of(after.model)
    moments = layers_of(after.optimiser.state.mean)
    for i, (group, before, now) in enumerate(zip(network.model.units(), old, new, strict=True)):
        place_key, weight_key = jax.random.split(jax.random.fold_in(key, i))
        weight, mask = np.array(before.weight).ravel(), np.array(before.mask).ravel()
        count = round(0.4 * int(mask.sum()))
        alive = np.flatnonzero(mask)
        gone = alive[np.argsort(np.abs(weight[alive]))[:count]]
        weight[gone], mask[gone] = 0, False
        empty = np.flatnonzero(~mask)
        score = np.asarray(jax.random.uniform(place_key, before.mask.shape)).ravel()
        made = empty[np.argsort(score[empty])[:count]]
        mask[made] = True
        weight[made] = np.asarray(group.draw(weight_key, before.mask.shape)).ravel()[made]
        assert count > 0
        np.testing.assert_array_equal(np.ravel(now.mask), mask)
        np.testing.assert_array_equal(np.ravel(now.weight), weight)
        forgotten = np.isin(np.arange(mask.size), np.union1d(gone, made))
        np.testing.assert_array_equal(np.ravel(moments[i].weight) == 0, forgotten)
        np.testing.assert_array_equal(now.bias, before.bias)
        assert np.all(np.asarray(moments[i].bias) != 0)
    head = lambda m: (m.layers if isinstance(m, models.MLP) else m.dense)[-1]
    np.testing.assert_array_equal(head(after.model).weight, head(network.model).weight)


def test_the_density_stays_and_connections_wander(getkey):
    """Also with weights that are equal, and when nothing or everything is moved."""
    network = mlp(getkey(), density=0.4)
    count = lambda m: [int(layer.mask.sum()) for layer in m.layers[:-1]]
    equal = jax.tree.map(lambda x: 0 * x if eqx.is_inexact_array(x) else x, network.model)
    for fraction in (0.3, 0.0, 1.0):
        learner = learner_of(equal, algorithms.adam(0.1))
        for _ in range(3):
            learner = rewired(SparseRewiring(fraction=fraction), learner, getkey())
            assert count(learner.model) == count(network.model)
        moved = not np.array_equal(learner.model.layers[1].mask, equal.layers[1].mask)
        assert moved == (fraction > 0)
    # Places are drawn uniformly: after many moves of everything each has been used.
    used = np.zeros((4, 4), bool)
    for _ in range(20):
        learner = rewired(SparseRewiring(fraction=1.0), learner, getkey())
        used |= np.asarray(learner.model.layers[1].mask)
    assert used.all()


def test_what_it_refuses(getkey):
    dense = learner_of(models.MLP(3, 2, width=4, depth=1, key=getkey()))
    with pytest.raises(ValueError, match="No layer of this MLP is sparse.*`density` below 1"):
        SparseRewiring().init(dense, key=getkey())
    with pytest.raises(TypeError, match="Linear without a method `units\\(\\)`"):
        SparseRewiring().init(learner_of(eqx.nn.Linear(2, 2, key=getkey())), key=getkey())
    for fraction in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="`fraction` is .*must lie between 0 and 1"):
            SparseRewiring(fraction=fraction)
