"""Sparse evolutionary training against NumPy, and its invariants."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convnet, drawn, mlp
from signals import learner_of, numpy_map, signal_at, trained

from spectral import algorithms, models
from spectral.algorithms import SparseRewiring


KEY = jax.random.key(0)


def sparse_mlp():
    """A network, and a function that finds its hidden layers, one for each group of units."""
    return mlp(KEY, density=0.6).model, lambda m: m.layers[:-1]


def sparse_pictures():
    return convnet(KEY, density=0.5).model, lambda m: (*m.convolutions, *m.dense[:-1])


@eqx.filter_jit
def rewired(transform, learner, key):
    return transform.update(learner, None, signal_at(None, jnp.ones((1, 1)), taps={}), key=key)[0]


@pytest.mark.parametrize(
    "make", [sparse_mlp, pytest.param(sparse_pictures, marks=pytest.mark.slow)]
)
def test_one_step_matches_numpy(make):
    model, layers_of = make()
    learner = trained(learner_of(model, algorithms.adam(0.1)))
    after: Any = rewired(SparseRewiring(fraction=0.4), learner, KEY)
    old, new = layers_of(model), layers_of(after.model)
    moments = layers_of(after.optimiser.state.mean)

    @jax.jit
    def draws():
        """For each layer, the numbers that choose places, and new weights at all places."""
        found = []
        for i, (group, layer) in enumerate(zip(model.units(), old, strict=True)):
            place_key, weight_key = jax.random.split(jax.random.fold_in(KEY, i))
            shape = layer.mask.shape
            found.append((jax.random.uniform(place_key, shape), group.draw(weight_key, shape)))
        return found

    for i, (before, now, draw) in enumerate(zip(old, new, draws(), strict=True)):
        score, fresh = (np.ravel(x) for x in draw)
        weight, mask = np.array(before.weight).ravel(), np.array(before.mask).ravel()
        count = round(0.4 * int(mask.sum()))
        alive = np.flatnonzero(mask)
        gone = alive[np.argsort(np.abs(weight[alive]))[:count]]
        weight[gone], mask[gone] = 0, False
        empty = np.flatnonzero(~mask)
        made = empty[np.argsort(score[empty])[:count]]
        mask[made] = True
        weight[made] = fresh[made]
        assert count > 0
        np.testing.assert_array_equal(np.ravel(now.mask), mask)
        np.testing.assert_array_equal(np.ravel(now.weight), weight)
        forgotten = np.isin(np.arange(mask.size), np.union1d(gone, made))
        np.testing.assert_array_equal(np.ravel(moments[i].weight) == 0, forgotten)
        np.testing.assert_array_equal(now.bias, before.bias)
        assert np.all(np.asarray(moments[i].bias) != 0)
    head = lambda m: (m.layers if isinstance(m, models.MLP) else m.dense)[-1]
    np.testing.assert_array_equal(head(after.model).weight, head(model).weight)


def test_the_density_is_constant_and_all_places_are_used():
    """Also if all weights are equal, and if no connection or every connection is moved."""
    model, _ = sparse_mlp()
    count = lambda m: [int(np.sum(layer.mask)) for layer in m.layers[:-1]]
    equal = trained(learner_of(numpy_map(lambda x: 0 * x, model), algorithms.adam(0.1)))
    keys = jax.random.split(KEY, 20)
    for fraction in (0.3, 0.0, 1.0):
        learner = equal
        for key in keys[:3]:
            learner = rewired(SparseRewiring(fraction=fraction), learner, key)
            assert count(learner.model) == count(model)
        moved = not np.array_equal(learner.model.layers[1].mask, model.layers[1].mask)
        assert moved == (fraction > 0)
    # Places are drawn uniformly: after many moves of everything each has been used.
    used = np.zeros((4, 4), bool)
    for key in keys:
        learner = rewired(SparseRewiring(fraction=1.0), learner, key)
        used |= np.asarray(learner.model.layers[1].mask)
    assert used.all()


def test_models_that_are_rejected():
    with pytest.raises(ValueError, match="No layer of this MLP is sparse.*`density` below 1"):
        SparseRewiring().init(learner_of(mlp(KEY).model), key=KEY)
    linear = drawn(lambda key: eqx.nn.Linear(2, 2, key=key), KEY)
    with pytest.raises(TypeError, match="Linear without a method `units\\(\\)`"):
        SparseRewiring().init(learner_of(linear), key=KEY)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_bad_arguments(fraction):
    with pytest.raises(ValueError, match="`fraction` is .*must lie between 0 and 1"):
        SparseRewiring(fraction=fraction)
