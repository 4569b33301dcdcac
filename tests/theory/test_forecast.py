"""Definitions 5.1 and 5.2, and forecasts against gradient descent where they are exact."""

import functools
from typing import Any

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import GrowingClasses
from signals import boundary_at, learner_of, mlp
from tables import permuted, tiny_images
from theory_networks import outputs_of
from theory_profile import COUNTS, tried

from spectral import algorithms, tasks, theory, train_continual
from spectral.curvature import (
    Convex,
    Gram,
    Risk,
    SoftmaxCrossEntropy,
    SquaredError,
)


def test_definitions():
    scores = np.array([0.9, 0.88, 0.7])
    assert theory.successful_training(scores, 0.9, tolerance=0.05).tolist() == [True, True, False]
    assert theory.plastic(scores[:2], 0.9, tolerance=0.05)
    assert not theory.plastic(scores, 0.9, tolerance=0.05)
    assert theory.tau_trainable(np.array([3, 4]), 4).tolist() == [False, True]
    found = theory.trainability(np.array([12.0, 30.0, 41.0]), 20)
    assert found.value == pytest.approx(2 / 3)
    # Clopper and Pearson: the upper end solves Pr(X <= 2) = 2.5 %, which is 1 - p^3.
    assert found.upper == pytest.approx(0.975 ** (1 / 3))
    # The lower end solves Pr(X >= 2) = 2.5 %, which is p^2 (3 - 2p).
    assert found.lower**2 * (3 - 2 * found.lower) == pytest.approx(0.025)
    assert theory.trainability(np.zeros(20), 1).upper == pytest.approx(1 - 0.025 ** (1 / 20))
    assert theory.trainability(np.zeros(20), 1).lower == 0
    assert theory.trainability(np.ones(20), 1).lower == pytest.approx(0.025 ** (1 / 20))
    assert theory.trainability(np.ones(20), 1).upper == 1
    wide = theory.trainability(np.ones(20), 1, confidence=0.5)
    assert wide.lower == pytest.approx(0.25 ** (1 / 20))


def linear_outputs(params, inputs):
    return inputs @ params


def affine_outputs(params, inputs):
    """Outputs that are not 0 without parameters."""
    return inputs @ params + inputs[:, :3]


def squared(data):
    return Risk(affine_outputs, SquaredError(scale=0.7), *data)


def batched_squared(data):
    return Risk(linear_outputs, SquaredError(scale=0.7), *data, batch_size=2)


def batched_softmax(data):
    return Risk(affine_outputs, SoftmaxCrossEntropy(), *data, batch_size=2)


def batched_network(data):
    forward = lambda params, inputs: jnp.tanh(inputs @ params) @ params[:3, :3]
    return Risk(forward, SoftmaxCrossEntropy(), *data, batch_size=2)


def softmax_mean(data):
    loss = Convex(lambda z, y: jnp.mean(SoftmaxCrossEntropy().losses(z, y)))
    return Risk(linear_outputs, loss, *data)


@functools.partial(jax.jit, static_argnums=0)
def descend(risk_of, params, lr, steps, data, weight_decay=0.0):
    """The loss before and after gradient descent."""
    risk = risk_of(data)
    step = lambda _, p: p - lr * (jax.grad(risk)(p) + weight_decay * p)
    after = jax.lax.fori_loop(0, steps, step, params)
    return risk(params), risk(after)


def linear_problem(labelled=False):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(6, 4)) * np.array([1.0, 1.0, 0.3, 0.1])
    targets = rng.normal(size=(6, 3))
    data = (jnp.asarray(inputs), jnp.asarray(targets.argmax(axis=1) if labelled else targets))
    return jnp.asarray(rng.normal(size=(4, 3))), data


@pytest.mark.usefixtures("float64")
def test_the_forecast_is_exact_for_a_linear_model():
    params, data = linear_problem()
    forecast = functools.partial(theory.trainability_forecast, squared(data), params)
    for steps in (1, 7, 300):
        found = forecast(lr=0.3, steps=steps, target=0.2)
        assert found.largest * 0.3 < 2
        before, after = descend(squared, params, 0.3, steps, data)
        np.testing.assert_allclose(found.initial_loss, before, rtol=1e-12)
        np.testing.assert_allclose(found.loss, after, rtol=1e-9)
        for target in (0.99 * after, 1.01 * after):
            found = forecast(lr=0.3, steps=steps, target=target)
            assert bool(found.trainable) == (target > after)
    # Beyond the stable learning rate the loss diverges.
    lr = 2.2 / float(found.largest)
    found = forecast(lr=lr, steps=60, target=0.2)
    np.testing.assert_allclose(found.loss, descend(squared, params, lr, 60, data)[1], rtol=1e-7)
    assert found.loss > found.initial_loss
    assert not found.trainable
    unlearned_directions_rule_out_a_target(functools.partial(forecast, lr=0.3, steps=30))
    # Here the largest eigenvalue overshoots, and no direction is slow.
    fast = {"lr": 1.9 / float(found.largest), "steps": 2, "weight_decay": 0.01}
    unlearned_directions_rule_out_a_target(functools.partial(forecast, **fast))
    weight_decay_is_exact(forecast, params, data, lr)


def weight_decay_is_exact(forecast, params, data, unstable):
    # An even and an odd number of steps, stable and unstable.
    for weight_decay, lr, steps in [
        (0.01, 0.3, 1),
        (0.2, 0.3, 40),
        (0.2, 0.3, 100_000),
        (0.05, unstable, 6),
        (0.05, unstable, 7),
    ]:
        found = forecast(lr=lr, steps=steps, target=0.2, weight_decay=weight_decay)
        _, after = descend(squared, params, lr, steps, data, weight_decay)
        np.testing.assert_allclose(found.loss, after, rtol=1e-8)
        low, high = theory.budget_epsilon(lr, steps, weight_decay=weight_decay)
        np.testing.assert_allclose((found.epsilon, found.upper), (low, high))
        # Two of the six examples cannot be fitted: 6 of the 18 eigenvalues are 0.
        assert found.directions >= 6 * bool(low <= 0)
    # The limit, also along directions without curvature: a residual of c w / (lambda + w).
    inputs, targets = (np.asarray(x) for x in data)
    values, vectors = np.linalg.eigh(2 * 0.7 * inputs @ inputs.T / 6)
    c = vectors.T @ (inputs[:, :3] - targets)
    limit = 0.7 / 6 * np.sum((0.2 / (np.maximum(values, 0) + 0.2))[:, None] ** 2 * c**2)
    np.testing.assert_allclose(
        forecast(lr=0.3, steps=100_000, target=0.2, weight_decay=0.2).loss, limit, rtol=1e-9
    )


def unlearned_directions_rule_out_a_target(forecast):
    """The necessary condition: if it fails the loss stays above the target."""
    ruled_out = met = 0
    for target in np.geomspace(1e-3, 1, 6):
        for shrinkage in (0.3, 0.9):
            found = forecast(target=target, shrinkage=shrinkage)
            assert found.possible or not found.trainable
            ruled_out += not found.possible
            met += bool(found.possible and not found.trainable)
    assert ruled_out > 2
    assert met > 0  # the condition is not sufficient


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "risk_of", [batched_softmax, pytest.param(softmax_mean, marks=pytest.mark.slow)]
)
def test_cross_entropy_is_descent_itself(risk_of):
    """On a model that is linear in its parameters, step by step."""
    params, data = linear_problem(labelled=True)
    for lr, steps, weight_decay in [(0.3, 100, 0.0), (0.3, 101, 0.1), (40.0, 50, 0.0)]:
        budget = {"lr": lr, "steps": steps, "weight_decay": weight_decay}
        found = theory.trainability_forecast(risk_of(data), params, target=0.2, **budget)
        before, after = descend(risk_of, params, lr, steps, data, weight_decay)
        np.testing.assert_allclose(found.initial_loss, before, rtol=1e-12)
        # Beyond the stable learning rate, descent amplifies rounding: to 2e-8 here.
        np.testing.assert_allclose(found.loss, after, rtol=1e-8 if lr < 1 else 1e-6)
        assert found.possible


def two_opposite_labels(params, lr, steps, labels, weight_decay=0.0):
    """Descent on the inputs 1 and 1 with two outputs, in NumPy."""
    z = np.array(params, float)[0]
    first = np.mean(np.asarray(labels) == 0)
    for _ in range(steps):
        p = 1 / (1 + np.exp(z[::-1] - z))
        z = z - lr * (p - np.array([first, 1 - first]) + weight_decay * z)
    losses = np.logaddexp(0, z[::-1] - z)
    return first * losses[0] + (1 - first) * losses[1]


@pytest.mark.usefixtures("float64")
def test_cross_entropy_beyond_the_stable_learning_rate_and_near_zero():
    """Gradient flow converges where descent jumps from side to side, and an integrator with an
    absolute tolerance loses a loss far below it."""
    inputs = jnp.asarray(np.ones((2, 1)))
    for logits, labels, lr, steps in [
        ([[1.0, 0.0]], [0, 1], 30.0, 50),
        ([[0.0, -24.0]], [0, 0], 1.0, 50),
        ([[0.0, -24.0]], [0, 0], 1e10, 50),
    ]:
        risk = Risk(linear_outputs, SoftmaxCrossEntropy(), inputs, jnp.asarray(np.array(labels)))
        params = jnp.asarray(np.array(logits))
        found = theory.trainability_forecast(risk, params, lr=lr, steps=steps, target=0.7)
        after = two_opposite_labels(logits, lr, steps, labels)
        # The loss itself keeps its digits down to 1e-16.
        np.testing.assert_allclose(found.loss, after, rtol=1e-8, atol=1e-15)
        assert bool(found.trainable) == (after <= 0.7)
        assert labels == [0, 1] or found.loss <= found.initial_loss < 1e-9
    assert two_opposite_labels([[1.0, 0.0]], 30, 50, [0, 1]) == pytest.approx(8.57, abs=0.01)


@functools.partial(jax.jit, static_argnums=0)
def gram_of(risk_of, params, data):
    return Gram(risk_of(data), params).dense()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "risk_of",
    [
        batched_softmax,
        pytest.param(batched_squared, marks=pytest.mark.slow),
        pytest.param(batched_network, marks=pytest.mark.slow),
    ],
)
def test_directions_are_counted_in_the_gauss_newton_matrix(risk_of):
    """The weighted kernel of the forecast is the Gram matrix of the loss."""
    params, data = linear_problem(labelled=risk_of is not batched_squared)
    found = theory.trainability_forecast(risk_of(data), params, lr=0.05, steps=100, target=0.2)
    values = np.linalg.eigvalsh(gram_of(risk_of, params, data))
    np.testing.assert_allclose(found.largest, values[-1], rtol=1e-9)
    assert found.upper > found.largest
    assert found.directions == np.sum(values > found.epsilon)
    assert 0 < found.directions < 15


@COUNTS
def test_epsilon_of_a_budget(count):
    """A residual shrinks enough if and only if its eigenvalue lies between the two bounds."""

    @tried(count, st.floats(0.01, 1), st.integers(1, 1000), st.floats(0.05, 0.95), st.floats(-3, 3))
    def holds(lr, steps, shrinkage, place):
        low, high = (float(x) for x in theory.budget_epsilon(lr, steps, shrinkage=shrinkage))
        for eigenvalue in (low * 10**place, high * 10 ** (place / 10)):
            factor = np.float64(min(abs(1 - lr * eigenvalue), 2.0)) ** steps
            inside = low <= eigenvalue <= high
            near = min(abs(eigenvalue / low - 1), abs(eigenvalue / high - 1)) < 1e-4
            assert near or (factor <= shrinkage) == inside


def linear_learner():
    """A linear map that is trained on a stream."""
    options: dict[str, Any] = {"num_tasks": 3, "steps_per_task": 16, "chunks_per_task": 2}
    stream = tasks.PermutedImages(tiny_images(), **options)
    return stream, learner_of(mlp(6, 3, depth=0))


def test_probe_measures_the_forecast_on_the_new_task():
    stream, learner = linear_learner()
    forecast = theory.TrainabilityForecast(lr=0.05, target=1.0, num_examples=6)

    @eqx.filter_jit
    def both(probe, learner, key):
        """What the probe measures, and the loss on its examples."""
        state = stream.init(key=key)
        batch = stream.sample(state, learner, 6, "train", key=key)
        risk = Risk(outputs_of, SoftmaxCrossEntropy(), batch.inputs, batch.labels)
        at = boundary_at(key)
        found = probe(learner, stream, state, boundary=at, key=key)
        return found, risk(learner.model), batch

    found, loss, batch = both(forecast, learner, jax.random.key(3))
    columns = {"loss", "initial_loss", "epsilon", "directions", "largest", "trainable"}
    assert set(found) == columns
    np.testing.assert_allclose(found["initial_loss"], loss, rtol=1e-5)
    assert found["loss"] < found["initial_loss"]
    # The 16 steps of a task.
    np.testing.assert_allclose(found["epsilon"], (1 - 0.5 ** (1 / 16)) / 0.05, rtol=1e-5)
    twice = theory.TrainabilityForecast(lr=0.1, target=1.0, num_examples=6)
    again, *_ = both(twice, learner, jax.random.key(3))
    np.testing.assert_allclose(again["epsilon"], found["epsilon"] / 2, rtol=1e-5)
    decayed = theory.TrainabilityForecast(lr=0.05, target=1.0, num_examples=6, weight_decay=0.5)
    less, *_ = both(decayed, learner, jax.random.key(3))
    np.testing.assert_allclose(less["epsilon"], found["epsilon"] - 0.5, rtol=1e-5)
    assert less["loss"] != found["loss"]


@pytest.mark.slow
def test_probe_records_the_forecast_of_each_task():
    setting = permuted()
    forecast = theory.TrainabilityForecast(lr=0.05, target=1.0, num_examples=12)
    _, history = train_continual(
        setting.model, setting.stream, algorithms.bp(0.05), probes={"forecast": forecast}
    )
    for name in ("loss", "initial_loss", "epsilon", "directions", "largest", "trainable"):
        assert np.isfinite(history[f"forecast.start.{name}"]).all()
    assert "forecast.start.possible" not in history
    assert (history["forecast.start.loss"] < history["forecast.start.initial_loss"]).all()
    risk = theory.budget_epsilon(0.05, 16)[0]
    np.testing.assert_allclose(history["forecast.start.epsilon"], risk, rtol=1e-5)


def test_probe_rejects_a_stream_without_a_number_of_steps():
    """The tasks of a stream that grows have different numbers of steps."""
    key = jax.random.key(0)
    _, learner = linear_learner()
    forecast = theory.TrainabilityForecast(lr=0.05, target=1.0, num_examples=4)
    loader = tasks.Loader(minibatch_size=5)
    incremental = tasks.IncrementalClasses(tiny_images(), classes_per_task=1, loader=loader)
    rows, labels = jnp.asarray(np.zeros((48, 3))), jnp.asarray(np.arange(48) % 6)
    growing = GrowingClasses(inputs=rows, labels=labels)
    for stream in (growing, incremental):
        state = jax.eval_shape(lambda stream=stream: stream.init(key=key))
        ask = lambda state, stream=stream: forecast(learner, stream, state, key=key)
        with pytest.raises(ValueError, match="`steps` is None, but the tasks .* different numbers"):
            jax.eval_shape(ask, state)


def test_slow_directions_keep_their_digits():
    """One input of one entry: the eigenvalue is its square. In float32 1 - 4.5e-8 is 1 - 6e-8."""
    one = jnp.asarray(np.ones((1, 1)))
    risk, params = Risk(linear_outputs, SquaredError(), one, one), jnp.asarray(np.zeros((1, 1)))
    for lr, steps in [(4.5e-8, 10_000_000), (1.0, 5), (1.5, 5)]:
        found = theory.trainability_forecast(risk, params, lr=lr, steps=steps, target=0.2)
        shrinkage = np.exp(-2 * steps * lr) if lr < 1 else (1 - lr) ** (2 * steps)
        np.testing.assert_allclose(found.loss, 0.5 * shrinkage, rtol=1e-4)


def test_a_fitted_example_stays_fitted_at_any_learning_rate():
    """The residual 0 times a growth beyond all floating-point numbers."""
    one = jnp.asarray(np.ones((1, 1)))
    risk = Risk(linear_outputs, SquaredError(), one, one)
    found = theory.trainability_forecast(risk, one, lr=3, steps=2000, target=0.0)
    assert (found.loss, found.initial_loss) == (0, 0)
    assert found.trainable
    assert found.possible
    away = theory.trainability_forecast(risk, 2 * one, lr=3, steps=2000, target=0.1)
    assert away.loss == np.inf
    assert not away.trainable
    assert not away.possible
    # A small residual whose growth alone exceeds the range of float32.
    risk = Risk(linear_outputs, SquaredError(), one, 0 * one)
    near = theory.trainability_forecast(risk, one * 2.0**-100, lr=3, steps=150, target=0.1)
    np.testing.assert_allclose(near.loss, 0.5 * 2.0**100, rtol=1e-3)


def test_possible_counts_directions_that_overshoot():
    """One direction with curvature 1: 1 - 2.5 is -1.5, so the residual grows."""
    one = jnp.asarray(np.ones((1, 1)))
    risk = Risk(linear_outputs, SquaredError(), one, 0 * one)
    for target in (0.1, 5.0, 6.0):
        found = theory.trainability_forecast(risk, one, lr=2.5, steps=3, target=target)
        np.testing.assert_allclose(found.loss, 0.5 * 1.5**6, rtol=1e-5)
        assert bool(found.possible) == (target >= 0.5 * 0.5**2)
        assert bool(found.trainable) == (target >= 5.7)


def test_directions_without_curvature_do_not_grow():
    """Six examples with equal inputs: only the mean of their targets can be fitted, so the rest of
    the loss stays."""
    rng = np.random.default_rng(4)
    inputs = np.tile(rng.normal(size=(1, 4)), (6, 1))
    targets = rng.normal(size=(6, 3))
    data = (jnp.asarray(inputs), jnp.asarray(targets - targets.mean(axis=0)))
    lr = 6 / float(np.sum(inputs**2))
    params = jnp.asarray(np.zeros((4, 3)))
    budget: dict[str, Any] = {"lr": lr, "steps": 100_000_000}
    found = theory.trainability_forecast(squared(data), params, target=0.2, **budget)
    assert found.loss <= found.initial_loss * (1 + 1e-5)
    assert found.largest * lr == pytest.approx(1.4)  # all other eigenvalues are 0


def test_bad_arguments():
    params, data = linear_problem()
    forecast = functools.partial(theory.trainability_forecast, squared(data), params)
    good: dict[str, Any] = {"lr": 0.1, "steps": 3, "target": 0.1}
    for name, value, message in [
        ("lr", 0.0, "`lr` is 0.0"),
        ("steps", 0, "`steps` is 0"),
        ("steps", 2**32, "`steps` is 4294967296, .* at most 2147483647"),
        ("target", -1.0, "`target` is -1.0"),
        ("weight_decay", -1.0, "`weight_decay` is -1.0"),
        ("shrinkage", 0.0, "`shrinkage` is 0.0, but must lie strictly between 0 and 1"),
        ("shrinkage", 1.0, "`shrinkage` is 1.0, but must lie strictly between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            forecast(**good | {name: value})
        with pytest.raises(ValueError, match=message):
            theory.TrainabilityForecast(**good | {name: value})
    with pytest.raises(ValueError, match="`num_examples` is 0"):
        theory.TrainabilityForecast(**good, num_examples=0)
    pair = Risk(lambda p, x: (x @ p, x @ p), lambda z, y: jnp.sum(z[0] ** 2, axis=1), *data)
    with pytest.raises(ValueError, match="A forecast has the hypothesis of one array of outputs"):
        theory.trainability_forecast(pair, params, **good)
    with pytest.raises(ValueError, match="`scores` is empty"):
        theory.plastic(np.zeros(0), 0.5)
    with pytest.raises(ValueError, match=r"`score` has NaN at \[1\]"):
        theory.successful_training(np.array([0.5, np.nan]), 0.5)
    with pytest.raises(ValueError, match=r"`reference` has NaN at \[\]"):
        theory.successful_training(0.5, np.nan)
    with pytest.raises(ValueError, match="`tolerance` is -0.1"):
        theory.successful_training(0.5, 0.5, tolerance=-0.1)
    with pytest.raises(ValueError, match="`rank` is"):
        theory.tau_trainable(-1, 2)
    with pytest.raises(ValueError, match="`threshold` is"):
        theory.tau_trainable(1, -2)
    with pytest.raises(ValueError, match="`trials` is 0"):
        theory.trainability(np.zeros(0), 2)
    for successes in (-1, 3):
        with pytest.raises(ValueError, match=f"`successes` is {successes}, but must lie between"):
            theory.proportion(successes, 2)
    for confidence in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"`confidence` is {confidence}"):
            theory.proportion(1, 2, confidence=confidence)
