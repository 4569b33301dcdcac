"""Forecasts against descent that is carried out, where they are exact, and the probe."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing_classes import growing_classes
from tables import permuted, tiny_images
from theory_profile import COUNTS, tried

from spectral import algorithms, Learner, tasks, theory, train_continual
from spectral.curvature import (
    Convex,
    Dense,
    epsilon_rank,
    GaussNewton,
    Gram,
    Risk,
    SoftmaxCrossEntropy,
    SquaredError,
)
from spectral.models import MLP


def linear_outputs(params, inputs):
    return inputs @ params


def network_outputs(model, inputs):
    return jax.vmap(model)(inputs)[0]


@functools.partial(jax.jit, static_argnums=(0, 3))
def descend(risk_of, params, lr, steps, data):
    gradient = jax.grad(lambda p: risk_of(data)(p))
    return jax.lax.fori_loop(0, steps, lambda _, p: p - lr * gradient(p), params)


def squared(data):
    return Risk(linear_outputs, SquaredError(scale=0.7), *data)


def softmax(data):
    return Risk(linear_outputs, SoftmaxCrossEntropy(), *data)


def softmax_mean(data):
    loss = Convex(lambda z, y: jnp.mean(SoftmaxCrossEntropy().losses(z, y)))
    return Risk(linear_outputs, loss, *data)


def linear_problem(getkey, risk_of):
    inputs = jax.random.normal(getkey(), (6, 4)) * jnp.array([1.0, 1.0, 0.3, 0.1])[None]
    targets = jax.random.normal(getkey(), (6, 3))
    data = (inputs, targets if risk_of is squared else jnp.argmax(targets, axis=1))
    return jax.random.normal(getkey(), (4, 3)), data


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, 7, 300])
def test_exact_for_descent_on_a_linear_model(steps, getkey):
    params, data = linear_problem(getkey, squared)
    risk = squared(data)
    found = theory.trainability_forecast(risk, params, lr=0.3, steps=steps, target=0.2)
    assert found.largest * 0.3 < 2
    np.testing.assert_allclose(found.initial_loss, risk(params), rtol=1e-12)
    after = risk(descend(squared, params, 0.3, steps, data))
    np.testing.assert_allclose(found.loss, after, rtol=1e-9)
    assert bool(found.trainable) == bool(after <= 0.2)


@pytest.mark.usefixtures("float64")
def test_descent_that_diverges_is_forecast(getkey):
    params, data = linear_problem(getkey, squared)
    stable = theory.trainability_forecast(squared(data), params, lr=0.3, steps=9, target=0.2)
    lr = 2.2 / float(stable.largest)
    found = theory.trainability_forecast(squared(data), params, lr=lr, steps=60, target=0.2)
    after = squared(data)(descend(squared, params, lr, 60, data))
    np.testing.assert_allclose(found.loss, after, rtol=1e-7)
    assert found.loss > found.initial_loss
    assert not found.trainable


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("risk_of", [softmax_mean, pytest.param(softmax, marks=pytest.mark.slow)])
def test_cross_entropy_follows_the_flow(risk_of, getkey):
    """Descent with short steps, on a model that is linear in its parameters."""
    params, data = linear_problem(getkey, softmax)
    risk = risk_of(data)
    found = theory.trainability_forecast(risk, params, lr=0.3, steps=100, target=0.2)
    after = risk(descend(risk_of, params, 0.003, 10_000, data))
    assert found.loss < 0.8 * found.initial_loss
    np.testing.assert_allclose(found.loss, after, rtol=3e-3)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "loss",
    [pytest.param(SquaredError(scale=0.7), marks=pytest.mark.slow), SoftmaxCrossEntropy()],
    ids=["squared", "softmax"],
)
def test_directions_are_counted_in_the_gauss_newton_matrix(loss, getkey):
    """The weighted kernel of the forecast is the Gram matrix of the loss."""
    model = MLP(3, 3, width=4, depth=1, key=getkey())
    inputs = jax.random.normal(getkey(), (5, 3))
    targets = jnp.zeros((5, 3)) if isinstance(loss, SquaredError) else jnp.arange(5) % 3
    risk = Risk(network_outputs, loss, inputs, targets, batch_size=2)
    found = theory.trainability_forecast(risk, model, lr=0.05, steps=100, target=0.2)
    spectrum = Dense()(Gram(risk, model), key=getkey())
    np.testing.assert_allclose(found.largest, spectrum.range()[1], rtol=1e-9)
    assert found.upper > found.largest
    assert found.directions == round(float(epsilon_rank(spectrum, found.epsilon).value))
    assert 0 < found.directions < 15
    whole = Dense()(GaussNewton(risk, model), key=getkey())
    assert found.directions == round(float(epsilon_rank(whole, found.epsilon).value))


@COUNTS
def test_epsilon_of_a_budget(count):
    """A residual shrinks enough if and only if its eigenvalue lies between the two."""

    @tried(count, st.floats(0.01, 1), st.integers(1, 1000), st.floats(0.05, 0.95), st.floats(-3, 3))
    def holds(lr, steps, shrinkage, place):
        low, high = (float(x) for x in theory.budget_epsilon(lr, steps, shrinkage=shrinkage))
        for eigenvalue in (low * 10**place, high * 10 ** (place / 10)):
            factor = np.float64(min(abs(1 - lr * eigenvalue), 2.0)) ** steps
            inside = low <= eigenvalue <= high
            near = min(abs(eigenvalue / low - 1), abs(eigenvalue / high - 1)) < 1e-4
            assert near or (factor <= shrinkage) == inside


@pytest.mark.usefixtures("float64")
def test_slow_directions_rule_a_target_out(getkey):
    """The necessary condition: where it fails the loss stays above the target."""
    params, data = linear_problem(getkey, squared)
    ruled_out = met = 0
    for target in np.geomspace(1e-3, 1, 12):
        for shrinkage in (0.3, 0.6, 0.9):
            found = theory.trainability_forecast(
                squared(data), params, lr=0.3, steps=30, target=target, shrinkage=shrinkage
            )
            assert found.possible or not found.trainable
            ruled_out += not found.possible
            met += bool(found.possible and not found.trainable)
    assert ruled_out > 5
    assert met > 0  # it is not sufficient


def test_probe_records_the_forecast_of_the_new_task():
    setting = permuted()
    forecast = theory.TrainabilityForecast(lr=0.05, target=1.0, num_examples=12)
    _, history = train_continual(
        setting.model, setting.stream, algorithms.bp(0.05), probes={"forecast": forecast}
    )
    for name in ("loss", "initial_loss", "epsilon", "directions", "largest", "trainable"):
        assert np.isfinite(history[f"forecast.start.{name}"]).all()
    assert "forecast.start.possible" not in history
    assert (history["forecast.start.loss"] < history["forecast.start.initial_loss"]).all()
    epsilon = theory.budget_epsilon(0.05, 16)[0]
    np.testing.assert_allclose(history["forecast.start.epsilon"], epsilon, rtol=1e-5)

    key, stream = jax.random.key(3), setting.stream
    state = stream.init(key=key)
    learner = Learner(setting.model, None, algorithms.bp(0.05).optimiser.init(setting.model))
    found = forecast(learner, stream, state, key=key)
    batch = stream.sample(state, learner, 12, "train", key=jax.random.split(key)[0])
    risk = Risk(network_outputs, SoftmaxCrossEntropy(), batch.inputs, batch.labels)
    np.testing.assert_allclose(found["initial_loss"], risk(setting.model), rtol=1e-5)
    largest = Dense()(Gram(risk, setting.model), key=key).range()[1]
    np.testing.assert_allclose(found["largest"], largest, rtol=1e-3)


def test_probe_refuses_steps_that_it_does_not_know():
    """The tasks of a stream that grows take different numbers of steps."""
    key, model = jax.random.key(0), permuted().model
    learner = Learner(model, None, algorithms.bp(0.05).optimiser.init(model))
    forecast = theory.TrainabilityForecast(lr=0.05, target=1.0, num_examples=4)
    loader = tasks.Loader(minibatch_size=5)
    incremental = tasks.IncrementalClasses(tiny_images(), classes_per_task=1, loader=loader)
    for stream in (growing_classes(), incremental):
        state = jax.eval_shape(lambda stream=stream: stream.init(key=key))
        ask = lambda state, stream=stream: forecast(learner, stream, state, key=key)
        with pytest.raises(ValueError, match="`steps` is None, but the tasks .* different numbers"):
            jax.eval_shape(ask, state)


@pytest.mark.parametrize("rate", [4.5e-8, 1.0, 1.5])
def test_slow_directions_keep_their_digits(rate):
    """One input of one entry: the eigenvalue is its square. In float32 1 - 4.5e-8 is 1 - 6e-8."""
    risk = Risk(linear_outputs, SquaredError(), jnp.ones((1, 1)), jnp.ones((1, 1)))
    steps = 10_000_000 if rate < 1 else 5
    found = theory.trainability_forecast(risk, jnp.zeros((1, 1)), lr=rate, steps=steps, target=0.2)
    expected = np.exp(-2 * steps * rate) if rate < 1 else (1 - rate) ** (2 * steps)
    np.testing.assert_allclose(found.loss, 0.5 * expected, rtol=1e-4)


def test_directions_without_curvature_do_not_grow(getkey):
    """Six examples of one input: all but their mean is out of reach, and stays as it is."""
    inputs = jnp.broadcast_to(jax.random.normal(getkey(), (1, 4)), (6, 4))
    targets = jax.random.normal(getkey(), (6, 3))
    risk = Risk(
        linear_outputs, SquaredError(scale=0.7), inputs, targets - jnp.mean(targets, axis=0)[None]
    )
    lr = 6 / float(jnp.sum(inputs**2))
    found = theory.trainability_forecast(
        risk, jnp.zeros((4, 3)), lr=lr, steps=100_000_000, target=0.2
    )
    assert found.loss <= found.initial_loss * (1 + 1e-5)
    assert found.largest * lr == pytest.approx(1.4)  # and all others are 0


def test_bad_numbers_are_refused(getkey):
    params, data = linear_problem(getkey, squared)
    forecast = functools.partial(theory.trainability_forecast, squared(data), params)
    good = {"lr": 0.1, "steps": 3, "target": 0.1}
    for name, value, message in [
        ("lr", 0.0, "`lr` is 0.0"),
        ("steps", 0, "`steps` is 0"),
        ("target", -1.0, "`target` is -1.0"),
        ("shrinkage", 0.0, "`shrinkage` is 0.0"),
        ("shrinkage", 1.0, "`1 - shrinkage` is 0.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            forecast(**good | {name: value})
        with pytest.raises(ValueError, match=message):
            theory.TrainabilityForecast(**good | {name: value})
    with pytest.raises(ValueError, match="`examples` is 0"):
        theory.TrainabilityForecast(**good, num_examples=0)
    pair = Risk(lambda p, x: (x @ p, x @ p), lambda z, y: jnp.sum(z[0] ** 2, axis=1), *data)
    with pytest.raises(ValueError, match="hypothesis of one array of outputs"):
        theory.trainability_forecast(pair, params, **good)
