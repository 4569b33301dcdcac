"""The numbers of optimisers, checked where they are written; what UPGD divides the utilities by."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from spectral import algorithms
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
