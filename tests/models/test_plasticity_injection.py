from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import BatchNormNetwork
from signals import arrays
from tables import permuted

from spectral import algorithms, train_continual
from spectral.models import entries_of, MLP, PlasticityInjection, renew_units


def test_injection_changes_no_output_and_trains_the_new_network(getkey):
    setting = permuted(num_tasks=1)
    base = setting.model
    model = PlasticityInjection(base, key=getkey())
    inputs = jax.random.normal(getkey(), (5, 6))
    run = lambda m: np.asarray(jax.vmap(m)(inputs)[0])
    np.testing.assert_array_equal(run(model), run(base))
    for a, b, c in zip(arrays(model), arrays(base), arrays(model.trained), strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, c)
    algo = algorithms.snp_l2(0.05, weight_decay=0.1, noise=0.01)
    learner, _ = train_continual(model, setting.stream, algo)
    after = learner.model
    for name in ("base", "beginning"):
        old, new = (jax.tree.leaves(getattr(m, name)) for m in (model, after))
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    difference = run(after.trained) - run(model.trained)
    assert np.abs(difference).max() > 0.01
    np.testing.assert_allclose(run(after), run(base) + difference, atol=1e-5)


def test_its_units_are_those_of_the_new_network(getkey):
    model = PlasticityInjection(MLP(3, 2, width=4, depth=2, key=getkey()), key=getkey())
    group = model.units()[1]
    units = jnp.arange(4) == 2
    marks = entries_of(model, group, units)
    assert sum(int(m.sum()) for m in jax.tree.leaves(marks)) == 4 + 1 + 2
    renewed = renew_units(model, group, units, key=getkey())
    assert not np.any(renewed.trained.layers[2].weight[:, 2])
    fed: Any = group.outgoing[0].fed_bias
    trained: Any = model.trained
    assert fed(model) is trained.layers[2].bias
    again = model.fresh(key=getkey())
    assert not np.array_equal(again.base.layers[0].weight.bits, model.base.layers[0].weight.bits)


def test_running_statistics_are_refused(getkey):
    model, _ = eqx.nn.make_with_state(BatchNormNetwork)(key=getkey())
    with pytest.raises(ValueError, match="`base` has running statistics"):
        PlasticityInjection(model, key=getkey())
