"""Transformations of optax as they are, integers, and transformations that need the loss."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from signals import mlp
from tables import permuted

from spectral import algorithms, Optimiser, train_continual
from spectral._ensemble import same_program
from spectral.algorithms import Algorithm, L2
from spectral.recording._fingerprint import difference, fingerprint


RECIPES = {
    name: recipe
    for name, recipe in vars(algorithms).items()
    if inspect.isfunction(recipe)
    and "lr" in inspect.signature(recipe).parameters
    and inspect.signature(recipe).return_annotation is Algorithm
}


@pytest.fixture
def model():
    return mlp(3, 2, width=4, depth=1, seed=100)


@eqx.filter_jit
def steps(optimiser, model, values):
    """The model and the optimiser after a step for each of the losses `values`."""
    grads = jax.tree.map(jnp.ones_like, eqx.filter(model, eqx.is_inexact_array))
    optimiser = optimiser.init(model)
    for value in values:
        model, optimiser = optimiser.apply(grads, model, value=value)
    return model, optimiser


def weights(model):
    return jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))


def test_a_transformation_takes_the_steps_of_its_function(model):
    losses = [jnp.asarray(1.0)] * 3
    taken, _ = steps(algorithms.bp(optax.adamw(0.1, b1=0.8)).optimiser, model, losses)
    data = Optimiser(optax.adamw, learning_rate=0.1, b1=0.8)
    expected, _ = steps(data, model, losses)
    for a, b in zip(weights(taken), weights(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    start = np.abs(weights(model)[0] - weights(taken)[0])
    assert start.min() > 0.2


def test_there_are_recipes():
    assert len(RECIPES) > 18


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_what_an_algorithm_takes(name):
    """A transformation, and a schedule."""
    recipe, given = RECIPES[name], optax.sgd(0.1)
    schedule = algorithms.Constant(0.1)
    assert recipe(schedule).optimiser.schedules == {"learning_rate": schedule}
    if name == "upgd":
        unchecked = inspect.unwrap(recipe)
        for optimiser in (given, Optimiser(given)):
            with pytest.raises(TypeError, match="UPGD is one itself"):
                unchecked(optimiser)
        return
    optimiser = recipe(given).optimiser
    if name == "trac":
        assert optimiser.hyper == {}
        assert dict(optimiser.options)["base"] is given
        return
    assert optimiser.make is given
    assert optimiser.hyper == {}


def test_a_function_is_not_a_transformation(monkeypatch):
    # The type checker of the tests would reject these first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    make: Any = Algorithm
    right = r"pass `optax.adam\(1e-3\)`.* or `Optimiser\(optax.adam, learning_rate=1e-3\)`"
    with pytest.raises(TypeError, match=f"`lr` is the function `adam`.*{right}"):
        algorithms.bp(optax.adam)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=f"`optimiser` is the function `adam`.*{right}"):
        make(optax.adam)
    with pytest.raises(TypeError, match="`optimiser` is 0.1, but must be an `Optimiser` or"):
        make(0.1)
    with pytest.raises(TypeError, match="`lr` is 'x', but must be"):
        algorithms.bp("x")  # pyright: ignore[reportArgumentType]
    penalty, transform = L2(1e-3), algorithms.Reset()
    sgd = algorithms.sgd(0.1)
    with pytest.raises(TypeError, match=r"L2\(weight_decay=0.001\).*`penalties=\(L2\(.*\),\)`"):
        make(sgd, penalty)
    with pytest.raises(TypeError, match=r"`penalties` is L2.*pass `penalties=\(L2\(.*\),\)`"):
        make(sgd, penalties=penalty)
    with pytest.raises(TypeError, match=r"`transforms` is Reset.*`transforms=\(Reset\(.*\),\)`"):
        make(sgd, transforms=transform)
    with pytest.raises(TypeError, match="Reset.*must be in the tuple `transforms`"):
        make(sgd, penalties=(transform,))
    with pytest.raises(TypeError, match=r"`penalties=tuple\(penalties\)`"):
        make(sgd, penalties=[penalty])
    with pytest.raises(TypeError, match="3 is neither an AbstractPenalty nor"):
        make(sgd, 3)
    with pytest.raises(ValueError, match=r"finished transformation.*\['b1'\]"):
        Optimiser(optax.sgd(0.1), b1=0.5)
    with pytest.raises(TypeError, match="`make` is 0.1, but must be a function"):
        Optimiser(0.1)  # pyright: ignore[reportArgumentType]


CHAINS = {
    "adam": lambda lr: optax.adam(lr),
    "chain": lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(lr)),
    "masked": lambda lr: optax.masked(optax.sgd(lr, momentum=0.9), _all),
    "schedule": lambda lr: optax.sgd(optax.cosine_decay_schedule(lr, 100)),
    "muon": lambda lr: optax.contrib.muon(lr),
}


def _all(params):
    return jax.tree.map(lambda p: True, params)


@pytest.mark.parametrize("name", CHAINS)
def test_checkpoints_compare_the_numbers_of_a_transformation(name):
    """Equal calls are different programs, but a run of one continues with the other."""
    make = CHAINS[name]
    first, equal, other = (algorithms.bp(make(lr)) for lr in (1e-3, 1e-3, 2e-3))
    assert difference(fingerprint(first), fingerprint(equal)) is None
    assert "optimiser.make" in (difference(fingerprint(first), fingerprint(other)) or "")
    assert not same_program(first, equal)
    assert same_program(first, first)


def test_checkpoints_compare_the_numbers_of_a_schedule_of_optax():
    make = lambda lr: Optimiser(optax.adam, learning_rate=optax.cosine_decay_schedule(lr, 9))
    first, equal, other = (fingerprint(make(lr)) for lr in (0.1, 0.1, 0.2))
    assert difference(first, equal) is None
    assert "options" in (difference(first, other) or "")


def sized(lr: float, size: int, *, window=5, power=2.0, other):
    return optax.sgd(lr)


def test_integers_are_data_where_a_float_is_wanted():
    optimiser = Optimiser(sized, lr=1, size=2, window=3, power=4, other=5)
    assert sorted(optimiser.hyper) == ["lr", "power"]
    assert optimiser.options == (("other", 5), ("size", 2), ("window", 3))
    assert optimiser.hyper["lr"].dtype == jnp.float32
    texts = Optimiser(sized, lr=1, size=2, power=True, other="a")
    assert texts.options == (("other", "a"), ("power", True), ("size", 2))
    options = {"min_dim_size_to_factor": 64, "decay_offset": 3, "factored": True}
    factored = Optimiser(optax.adafactor, learning_rate=np.int64(1), momentum=0, **options)
    assert sorted(factored.hyper) == ["learning_rate", "momentum"]
    assert dict(factored.options) == options
    rms = Optimiser(optax.scale_by_factored_rms, min_dim_size_to_factor=2, decay_rate=1)
    assert (sorted(rms.hyper), rms.options) == (["decay_rate"], (("min_dim_size_to_factor", 2),))
    assert Optimiser(optax.contrib.muon, learning_rate=1, ns_steps=3).options == (("ns_steps", 3),)


def test_an_integer_is_the_number_that_it_stands_for(model):
    losses = [jnp.asarray(1.0)]
    one, _ = steps(Optimiser(optax.sgd, learning_rate=1), model, losses)
    for before, after in zip(weights(model), weights(one), strict=True):
        np.testing.assert_allclose(after, before - 1, rtol=1e-6, atol=1e-6)


def plateau(learning_rate):
    reduce = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
    return optax.chain(optax.sgd(learning_rate), reduce)


def test_a_transformation_receives_the_loss(model):
    rising = [jnp.asarray(1.0 + i) for i in range(3)]
    for optimiser in (Optimiser(plateau, learning_rate=0.1), Optimiser(plateau(0.1))):
        _, after = steps(optimiser, model, rising)
        assert float(after.state[1].scale) == 0.5
    _, after = steps(Optimiser(plateau, learning_rate=0.1), model, rising[::-1])
    assert float(after.state[1].scale) == 1


def recording():
    """Moves nothing, and keeps the sum of the losses."""

    def update(updates, state, params=None, *, value: Any = None, **_):
        return jax.tree.map(jnp.zeros_like, updates), state + value

    return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)


def test_the_loop_passes_criterion_plus_penalties():
    setting = permuted(num_tasks=1)
    algo = Algorithm(Optimiser(recording), penalties=(L2(0.5),))
    learner, history = train_continual(setting.model, setting.stream, algo)
    penalty = 0.25 * sum(float(np.sum(np.square(w))) for w in weights(setting.model))
    assert penalty > 0.1
    mean = float(learner.optimiser.state) / 16
    np.testing.assert_allclose(mean, history["loss"].mean() + penalty, rtol=1e-5)
