"""Interventions do what they say; their controls move the function as far."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import learner_of, mlp
from tables import tiny_rows

from spectral import algorithms, models, probes, tasks, train_continual
from spectral.curvature import Dense
from spectral.probes import Sampler
from spectral.probes.interventions._matched_noise import matched_noise, output_distance


KEY = jax.random.key(2)
WHERE = [lambda m, i=i: m.layers[i].weight for i in range(3)]


@functools.cache
def stream():
    loader = tasks.Loader(epochs=2, minibatch_size=6, standardise=True)
    return tasks.PermutedInputs(tiny_rows("classes"), num_tasks=2, loader=loader)


def network(**options: Any) -> models.MLP:
    """In the first hidden layer, unit 1 is dead and unit 3 a clone of unit 0, with twice its
    weights."""
    model = mlp(4, 3, width=5, depth=2, **options)
    weight, bias = np.array(model.layers[0].weight), np.array(model.layers[0].bias)
    bias[1] = -100.0
    weight[3], bias[3] = 2 * weight[0], 2 * bias[0]
    where = lambda m: (m.layers[0].weight, m.layers[0].bias)
    return eqx.tree_at(where, model, (jnp.asarray(weight), jnp.asarray(bias)))


def sampler(model: models.MLP) -> Sampler:
    return Sampler(learner_of(model), stream(), stream().init(key=KEY), 24, "train", KEY)


def outputs(model: models.MLP, inputs: np.ndarray) -> list[np.ndarray]:
    """The activations of all layers in NumPy, the logits last."""
    found, x = [], inputs
    for i, layer in enumerate(model.layers):
        x = x @ np.asarray(layer.weight).T + np.asarray(layer.bias)
        x = np.maximum(x, 0) if i < len(model.layers) - 1 else x
        found.append(x)
    return found


INPUTS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def test_rescaled_keeps_the_function_to_the_bit():
    """With powers of two. Incoming weights and bias of a unit grow, its outgoing weights shrink."""
    model = network()
    factor = jnp.array([1.0, 2.0, 0.25, 8.0, 0.5])
    found = models.rescaled(model, {"hidden_0": factor, "hidden_1": factor[::-1]})
    np.testing.assert_array_equal(outputs(found, INPUTS)[-1], outputs(model, INPUTS)[-1])
    columns, rows = factor[None], factor[:, None]
    first, second, last = (np.asarray(where(model)) for where in WHERE)
    np.testing.assert_array_equal(WHERE[0](found), first * rows)
    np.testing.assert_array_equal(found.layers[0].bias, np.asarray(model.layers[0].bias) * factor)
    np.testing.assert_array_equal(WHERE[1](found), second * rows[::-1] / columns)
    np.testing.assert_array_equal(WHERE[2](found), last / columns[:, ::-1])
    normed = mlp(4, 3, width=5, depth=1, layer_norm=True)
    found = models.rescaled(normed, {"hidden_0": factor})
    np.testing.assert_array_equal(found.layers[0].weight, normed.layers[0].weight)
    np.testing.assert_array_equal(found.norms[0].weight, normed.norms[0].weight * factor)


def test_what_cannot_be_rescaled_is_named():
    with pytest.raises(ValueError, match="activation .*tanh.*, but units can be scaled only where"):
        models.rescaled(mlp(4, 3, width=5, depth=1, activation="tanh"), {})
    with pytest.raises(ValueError, match="`factors`: Layer 'hidden_7' does not exist"):
        models.rescaled(network(), {"hidden_7": jnp.ones(5)})
    with pytest.raises(ValueError, match=r"has shape \(3,\), but the layer has 5 units"):
        models.rescaled(network(), {"hidden_0": jnp.ones(3)})
    with pytest.raises(ValueError, match="`factor` is 0.5"):
        probes.Rescaling(factor=0.5)


def gradient(model: models.MLP) -> models.MLP:
    """The gradient of the mean squared logits, in NumPy."""
    layers = outputs(model, INPUTS)
    slope, grads = 2 * layers[-1] / layers[-1].size, []
    for i in reversed(range(3)):
        before = INPUTS if i == 0 else layers[i - 1]
        grads = [slope.T @ before, slope.sum(0), *grads]
        if i:
            slope = (slope @ np.asarray(model.layers[i].weight)) * (before > 0)
    params = eqx.filter(model, eqx.is_inexact_array)
    return jax.tree.unflatten(jax.tree.structure(params), list(map(jnp.asarray, grads)))


@pytest.mark.parametrize(("rule", "stays"), [("proportional_sign", True), ("sgd", False)])
def test_an_update_that_respects_rescaling_keeps_the_functions_equal(rule, stays):
    model = network()
    factor = jnp.array([1.0, 2.0, 0.25, 8.0, 0.5])
    both = [model, models.rescaled(model, {"hidden_0": factor, "hidden_1": factor[::-1]})]
    start, ends = outputs(model, INPUTS)[-1], []
    for own in both:
        optimiser = getattr(algorithms, rule)(0.05).init(own)
        for _ in range(4):
            grads = gradient(own)
            if rule == "proportional_sign" and own is both[0]:
                expected = WHERE[0](own) - 0.05 * abs(WHERE[0](own)) * np.sign(WHERE[0](grads))
                both.append(expected)
            own, optimiser = optimiser.apply(grads, own)
            if len(both) == 3:
                np.testing.assert_allclose(WHERE[0](own), both.pop(), rtol=1e-6)
        ends.append(outputs(own, INPUTS)[-1])
    apart = np.abs(ends[0] - ends[1]).max() / np.abs(ends[0] - start).max()
    assert apart < 1e-5 if stays else apart > 1e-2


@pytest.mark.slow
def test_dead_units_are_revived_without_a_change_of_the_function():
    sample, model = sampler(network()), network()
    found = probes.Revival()(sample, key=KEY)
    inputs = np.asarray(sample.examples().inputs)
    before, after = outputs(model, inputs), outputs(found, inputs)
    dead = [(h == 0).all(0) for h in before[:2]]
    assert dead[0].tolist() == [False, True, False, False, False]
    np.testing.assert_array_equal(before[-1], after[-1])
    assert not (after[0] == 0).all(0)[1]
    assert found.layers[0].bias[1] == 0
    for i, marked in enumerate(dead):
        kept = ~dead[i - 1] if i else slice(None)  # inputs that are not revived units
        new = (np.asarray(WHERE[i](found)) != np.asarray(WHERE[i](model)))[:, kept].any(1)
        np.testing.assert_array_equal(new, marked)
        np.testing.assert_array_equal(np.asarray(WHERE[i + 1](found))[:, marked], 0)
    with pytest.raises(ValueError, match="norm in the layer 'hidden_1'"):
        probes.Revival()(sampler(network(layer_norm=True)), key=KEY)


@pytest.mark.slow
def test_clones_are_split():
    """Of unit 0 and its double, unit 3, the second alone changes, by a tenth of its weights."""
    model = network()
    found = probes.SplitClones(noise=0.1, cosine=0.999)(sampler(model), key=KEY)
    change = np.asarray(WHERE[0](found) - WHERE[0](model))
    assert (change != 0).any(1).tolist() == [False, False, False, True, False]
    size = np.linalg.norm(change[3]) / np.linalg.norm(WHERE[0](model)[3])
    assert 0.03 < size < 0.3
    np.testing.assert_array_equal(found.layers[2].weight, model.layers[2].weight)
    for name, value in {"noise": 0.0, "cosine": -0.5}.items():
        with pytest.raises(ValueError, match=f"`{name}` is {value}"):
            probes.SplitClones(**{name: value})


@pytest.mark.slow
def test_singular_values_and_vectors_are_exchanged():
    model, sample = network(), sampler(network())
    svd = lambda m, i: np.linalg.svd(np.asarray(WHERE[i](m), np.float64), full_matrices=False)
    found = probes.NewSingularVectors()(sample, key=KEY)
    for i in range(2):
        old, new = svd(model, i), svd(found, i)
        np.testing.assert_allclose(new[1], old[1], rtol=1e-4)
        for a, b in ((old[0].T, new[0].T), (old[2], new[2])):
            assert abs(np.sum(a[0] * b[0])) < 0.99
    np.testing.assert_array_equal(WHERE[2](found), WHERE[2](model))
    found = probes.NewSingularValues(layer="hidden_1")(sample, key=KEY)
    np.testing.assert_array_equal(WHERE[0](found), WHERE[0](model))
    old, new = svd(model, 1), svd(found, 1)
    np.testing.assert_allclose(abs(np.sum(old[0] * new[0], axis=0)), 1, rtol=1e-3)
    assert np.abs(new[1] / old[1] - 1).max() > 0.05
    with pytest.raises(ValueError, match="`layer`: Layer 'hidden_5' does not exist"):
        probes.NewSingularVectors(layer="hidden_5")(sample, key=KEY)


@pytest.mark.slow
def test_noise_moves_the_function_by_the_distance_that_is_asked_for():
    model, sample = network(), sampler(network())
    inputs = np.asarray(sample.examples().inputs)

    @eqx.filter_jit
    def control(target):
        distance = output_distance(sample, key=KEY)
        noisy = matched_noise(sample, distance, target, key=KEY)
        return noisy, distance(noisy)

    for target in (1e-4, 0.3, 50.0):
        noisy, reached = control(jnp.asarray(target))
        change = outputs(noisy, inputs)[-1] - outputs(model, inputs)[-1]
        np.testing.assert_allclose(np.mean(change**2), target, rtol=1e-3)
        np.testing.assert_allclose(reached, target, rtol=1e-3)
        assert all((w(noisy) != w(model)).any() for w in WHERE)
    np.testing.assert_array_equal(WHERE[0](control(jnp.asarray(0.0))[0]), WHERE[0](model))


class Weights(probes.AbstractProbe):
    """Records all weights."""

    when: Any = eqx.field(static=True, default=("start",))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, key):
        return {f"{i}": layer.weight for i, layer in enumerate(learner.model.layers)}


@pytest.mark.slow
def test_a_new_head_leaves_the_hidden_units_and_its_control_moves_as_far():
    model, algo = network(), algorithms.bp(0.05)
    measured = {"head": probes.Intervened(Weights(), probes.NewHead(), num_examples=24)}
    plain, _ = train_continual(model, stream(), algo, key=KEY)
    learner, history = train_continual(model, stream(), algo, probes=measured, key=KEY)
    np.testing.assert_array_equal(WHERE[0](learner.model), WHERE[0](plain.model))
    for i in range(2):
        np.testing.assert_array_equal(history[f"head.start.{i}"][0], WHERE[i](model))
        assert (history[f"head.start.{i}_control"][0] != np.asarray(WHERE[i](model))).all()
    assert (history["head.start.2"][0] != np.asarray(WHERE[2](model))).all()
    distance = history["head.start.output_distance"]
    assert (distance > 0.01).all()
    np.testing.assert_allclose(history["head.start.output_distance_control"], distance, rtol=1e-3)


@pytest.mark.slow
def test_trainability_follows_a_rescaling_under_sgd_and_not_under_an_update_that_respects_it():
    """The rank of the Hessian moves in either case, and the function does not."""
    outcome = probes.Trainability(num_tasks=2, budget=6, num_twins=1, sgd_lr=0.1, when=("start",))
    hessian = probes.HessianSpectrum(num_examples=24, estimator=Dense())
    rescaling = probes.Rescaling(factor=10.0)
    measured = {
        "t": probes.Intervened(outcome, rescaling, num_examples=24),
        "h": probes.Intervened(hessian, rescaling, num_examples=24),
    }
    algo = algorithms.bp(algorithms.proportional_sign(0.02))
    _, history = train_continual(network(), stream(), algo, probes=measured, key=KEY)
    both = lambda name: (history[f"{name}"], history[f"{name}_control"])
    changed, control = both("t.start.own_area")
    np.testing.assert_allclose(changed, control, rtol=1e-4)
    np.testing.assert_array_equal(*both("t.start.own_fresh_area"))
    changed, control = both("t.start.sgd_area")
    assert (np.abs(changed / control - 1) > 1e-3).all()
    changed, control = both("h.start.normalised_epsilon_rank")
    assert (changed > control).all()
    assert (history["h.start.output_distance"] < 1e-10).all()
    quantities = history.quantities
    label = "normalised epsilon-rank, control of Rescaling"
    told = quantities["h.start.normalised_epsilon_rank_control"]
    assert told.label == label
    assert told.bounds["lower"] == "h.start.normalised_epsilon_rank_lower_control"
