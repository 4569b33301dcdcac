"""Plasticity injection within a run."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from signals import arrays, start_of
from tables import KEY, permuted, waiting

from spectral import models, studies, train_continual
from spectral.algorithms import (
    adam,
    Algorithm,
    bp,
    followed_by,
    fresh_network,
    InjectPlasticity,
    L2,
    ShrinkPerturb,
    SwitchedOn,
)
from spectral.models.networks._frozen import thawed
from spectral.probes import DeadUnits


def network() -> Any:
    return permuted({"later": True}).model


def assert_equal(a, b):
    for x, y in zip(arrays(a), arrays(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_other_networks_and_tasks():
    plain = networks.mlp(KEY, width=2, depth=1).model
    made = eqx.filter_eval_shape(lambda m: models.PlasticityInjection(m, key=KEY), plain)
    for model in (plain, made):
        message = f"`model` is a {type(model).__name__}, but .* `models.PlasticityInjection"
        begin = lambda m: bp_and(InjectPlasticity()).init(m, None, key=KEY)
        with pytest.raises(TypeError, match=message):
            eqx.filter_eval_shape(begin, model)
    with pytest.raises(ValueError, match="`task` is -1"):
        InjectPlasticity(task=-1)


def bp_and(*transforms: Any) -> Algorithm:
    return followed_by(bp(0.05), transforms)


@pytest.mark.slow
def test_the_run_goes_on_with_a_new_network():
    """Until then it is that of the network alone. After it f stays what it was, also with noise and
    weight decay."""
    setting = permuted(num_tasks=4)
    inject = InjectPlasticity(task=2)
    algo = Algorithm(adam(0.05), penalties=(L2(1e-3),), transforms=(inject,))
    learner, history = train_continual(waiting(setting.model), setting.stream, algo)
    plain = Algorithm(adam(0.05), penalties=(L2(1e-3),))
    stream = permuted(num_tasks=2).stream
    alone, before = train_continual(setting.model, stream, plain)
    np.testing.assert_array_equal(history["InjectPlasticity.injected"], [0, 0, 1, 1])
    np.testing.assert_allclose(history["loss"][:2], before["loss"], rtol=1e-5)
    model: Any = learner.model
    for a, b in zip(arrays(thawed(model.base)), arrays(alone.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert_equal(thawed(model.beginning), thawed(waiting(setting.model).beginning))
    for a, b in zip(arrays(model), arrays(thawed(model.beginning)), strict=True):
        assert not np.array_equal(a, b)


@pytest.mark.slow
def test_the_optimiser_is_new_and_what_others_remember_is_forgotten():
    model = network()
    anchored = ShrinkPerturb(target="initial", amount=0.1)
    algo = Algorithm(adam(0.05), transforms=(anchored, InjectPlasticity(task=1)))

    @eqx.filter_jit
    def begin(learner, state, task):
        return algo.begin_task(learner, state, start_of(task), key=KEY)

    learner, state = eqx.filter_jit(algo.init)(model, None, key=KEY)
    step = lambda o: jax.tree.map(lambda x: x + 1, o.state)
    learner = eqx.tree_at(lambda le: le.optimiser.state, learner, step(learner.optimiser))
    same, kept = begin(learner, state, jnp.asarray(0))
    assert_equal(same.optimiser, learner.optimiser)
    assert not kept.transforms[1].done
    after, memory = begin(learner, state, jnp.asarray(1))
    assert_equal(after.model, model.inject())
    assert_equal(after.optimiser.state, learner.optimiser.init(model).state)
    assert_equal(memory.transforms[0], after.model)
    # It is done once.
    again, memory = begin(learner=after, state=memory, task=jnp.asarray(2))
    assert_equal(again.model, after.model)
    assert bool(memory.transforms[1].done)
    assert not memory.transforms[1].now


@pytest.mark.slow
def test_a_sign_injects():
    """From task 1 on, the second time that the sign is below."""
    setting = permuted({"later": True})
    options: Any = {"threshold": 1.5, "direction": "below", "patience": 2}
    algo = bp_and(
        SwitchedOn(InjectPlasticity(task=0), DeadUnits(num_examples=4), "fraction", **options)
    )
    _, history = train_continual(setting.model, setting.stream, algo)
    np.testing.assert_array_equal(history["InjectPlasticity.injected"], [0, 1, 1])


@pytest.mark.slow
def test_a_fresh_network_holds_nothing_that_was_frozen():
    model = network().inject()
    twin, _ = eqx.filter_jit(fresh_network)(model, None, key=jax.random.key(9))
    x = jnp.ones(6)
    np.testing.assert_allclose(twin(x)[0], twin.trained(x)[0], rtol=1e-6)


@pytest.mark.slow
def test_it_works_from_settings():
    transform = {"type": "InjectPlasticity", "task": 2}
    settings = {
        "stream": {
            "type": "PermutedImages",
            "images": {"type": "load_images", "name": "digits"},
            "num_tasks": 2,
            "steps_per_task": 4,
        },
        "model": {
            "type": "PlasticityInjection",
            "later": True,
            "base": {"type": "MLP", "width": 2, "depth": 1},
        },
        "algorithms": {
            "injected": {
                "type": "followed_by",
                "algorithm": {"type": "bp", "lr": 0.03},
                "transforms": [transform],
            }
        },
    }
    experiment = studies.make_experiment(settings)
    assert experiment.algorithms["injected"].transforms == (InjectPlasticity(task=2),)
    model = experiment.member(0)[0]
    assert not model.injected
    # The nested network has a key of its own, which follows from that of the seed.
    weights = [experiment.member(seed)[0].trained.layers[0].weight for seed in (0, 1)]
    np.testing.assert_array_equal(model.trained.layers[0].weight, weights[0])
    for other in (weights[1], thawed(model.beginning).layers[0].weight):
        assert not np.array_equal(weights[0], other)
    assert "InjectPlasticity.injected" in experiment.quantities
