"""The numbers of optimisers, checked where they are written; what UPGD divides the utilities by."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from spectral import algorithms, models, Optimiser
from spectral.algorithms import perturbed_adam, perturbed_sgd


KEY = jax.random.key(0)
PARAMS = {"a": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": np.array([0.25, -1.0])}


def test_an_unknown_scope():
    with pytest.raises(ValueError, match="`scope`: Name 'loc' does not exist"):
        inspect.unwrap(algorithms.upgd)(scope="loc")


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("entrywise_adam", {"learning_rate": -1.0, "b1": 2.0, "b2": 1.0, "eps": 0.0}),
        ("entrywise_adamw", {"weight_decay": -1.0, "b1": 2.0}),
        (
            "equinox_muon",
            {"learning_rate": -1.0, "beta": 2.0, "adam_learning_rate": -1.0, "consistent_rms": 0.0},
        ),
        (
            "perturbed_sgd",
            {"learning_rate": -1.0, "utility_decay": 1.0, "noise": -1.0, "weight_decay": -1.0},
        ),
        ("perturbed_adam", {"learning_rate": -1.0, "utility_decay": 1.0, "b2": 2.0, "eps": 0.0}),
    ],
)
def test_the_numbers_of_a_transformation(name, numbers):
    """Under optax's names. A rate of zero begins a warm-up; traced numbers are unknown."""
    make = getattr(algorithms, name)
    for number, value in numbers.items():
        with pytest.raises(ValueError, match=f"`{number}` is {value}"):
            make(**{"learning_rate": 0.1} | {number: value})
    make(0.0)
    jax.eval_shape(lambda x: [make(x), x][1], jnp.asarray(-1.0))


MAKES: list[Any] = [
    (make, scope)
    for make in (perturbed_sgd, perturbed_adam)
    for scope in ("global", "global_uncorrected")
]


def plasticities(grads):
    """1 - s of every entry after each gradient, for each of `MAKES`: with `perturbed_sgd` it is the
    size of the step divided by the gradient."""
    numbers: Any = {"noise": 0.0, "weight_decay": 0.0, "utility_decay": 0.99}
    params = jax.tree.map(jnp.asarray, PARAMS)

    @jax.jit
    def all_updates(grads):
        found = []
        for make, scope in MAKES:
            transformation = make(1.0, scope=scope, **numbers)
            state, own = transformation.init(params), []
            for g in grads:
                updates, state = transformation.update(g, state, params, key=KEY)
                own.append(updates)
            found.append(own)
        return found

    found = all_updates([jax.tree.map(jnp.asarray, g) for g in grads])
    return [jax.tree.map(lambda u, g: -np.asarray(u) / g, own, grads) for own in found]


def test_the_largest_utility_of_the_network():
    """Corrected for its bias, as the utilities are, or as the public code takes it: then useful
    entries stand still at first."""
    rng = np.random.default_rng(0)
    # The first gives each entry the utility |theta|. Its size is 1, so Adam's step is 1 as well.
    grads = [{k: -np.sign(p) for k, p in PARAMS.items()}]
    grads += [{k: rng.normal(size=p.shape) for k, p in PARAMS.items()} for _ in range(2)]
    found = plasticities(grads)
    for (make, scope), own in zip(MAKES, found, strict=True):
        utility = {k: np.zeros(p.shape) for k, p in PARAMS.items()}
        for t, (g, now) in enumerate(zip(grads, own, strict=True), start=1):
            utility = {k: 0.99 * u - 0.01 * g[k] * PARAMS[k] for k, u in utility.items()}
            largest, correction = max(u.max() for u in utility.values()), 1 - 0.99**t
            assert largest > 0
            largest /= correction if scope == "global" else 1
            for k, u in utility.items():
                expected = 1 - expit(u / correction / largest)
                if make is perturbed_sgd or t == 1:
                    np.testing.assert_allclose(now[k], expected, rtol=2e-3, atol=1e-6)
    first = {make: own[0] for make, own in zip(MAKES, found, strict=True)}
    for (_, scope), now in first.items():
        plastic = np.concatenate([np.ravel(p) for p in now.values()])
        assert plastic.min() > 0.26 if scope == "global" else plastic.max() < 0.01


def test_numbers_that_become_zero():
    """In float32. Zero itself is a number like others."""
    made = {
        "lr": lambda x: algorithms.bp(x),
        "weight_decay": lambda x: algorithms.l2(0.1, weight_decay=x),
        "noise": lambda x: algorithms.snp(0.1, noise=x),
        "learning_rate": lambda x: Optimiser(optax.sgd, learning_rate=x),
    }
    for name, make in made.items():
        for value in (1e-50, 1e-40, jnp.asarray(1e-40)):
            with pytest.raises(ValueError, match=f"`{name}` is .*at least 1.18e-38.*float32"):
                make(value)
    made["weight_decay"](0.0)
    made["lr"](2e-38)
    with jax.enable_x64(True):
        made["lr"](1e-50)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("window", lambda n: algorithms.c_chain(0.1, window=n)),
        ("maturity", lambda n: algorithms.cbp(0.1, maturity=n)),
        ("max_age", lambda n: algorithms.snr(0.1, max_age=n)),
        ("period", lambda n: algorithms.cpr(0.1, period=n)),
        ("iterations", lambda n: algorithms.fire(0.1, iterations=n)),
        ("num_batches", lambda n: algorithms.dash(0.1, num_batches=n)),
        ("steps", lambda n: algorithms.ShrinkPerturb(shrink=0.9, noise=0.1, steps=n)),
        ("depth", lambda n: models.MLP(2, 2, depth=n, key=KEY)),
        ("blocks", lambda n: models.ResNet18((3, 8, 8), 2, blocks=(n,), key=KEY)),
        ("kernel_size", lambda n: models.Convolution(1, 1, n, key=KEY)),
    ],
)
def test_integers_have_an_upper_bound(name, make):
    """Those of programs have 32 bits; what is written out one after the other has far less."""
    with pytest.raises(ValueError, match=f"`{name}` is 100000000000, .*and at most [1-9]"):
        make(10**11)
