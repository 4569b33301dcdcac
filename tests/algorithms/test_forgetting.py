"""Optimisers that keep statistics of more than one entry cannot forget single entries."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from signals import mlp
from tables import permuted

from spectral import algorithms, Optimiser
from spectral._check_parts import check_parts
from spectral.algorithms import Algorithm


# Square layers: the statistics of rows and of columns have the same shape.
NETWORK = {"width": 6, "depth": 2}


def factored(learning_rate):
    return optax.adafactor(learning_rate, min_dim_size_to_factor=2)


def accumulated(learning_rate):
    return optax.MultiSteps(optax.adam(learning_rate), 2).gradient_transformation()


SHARED = {
    "factored": (Optimiser(factored, learning_rate=0.1), "(6,) for a parameter of shape (6, 6)"),
    "adafactor": (Optimiser(optax.adafactor, learning_rate=0.1), "(1,) for a parameter of"),
    "novograd": (Optimiser(optax.novograd, learning_rate=0.1), "() for a parameter of"),
    "sm3": (Optimiser(optax.sm3, learning_rate=0.1), "structure is not that of the parameters"),
    "lbfgs": (Optimiser(optax.lbfgs), "structure is not that of the parameters"),
    "GradientTransformationExtraArgs": (Optimiser(factored(0.1)), "(6,) for a parameter of"),
}


@pytest.mark.parametrize("name", SHARED)
def test_statistics_of_several_entries_are_rejected(name):
    optimiser, shown = SHARED[name]
    model = mlp(6, 6, **NETWORK)
    marks = jax.tree.map(
        lambda p: jnp.asarray(np.ones(p.shape, bool)), eqx.filter(model, eqx.is_inexact_array)
    )
    message = re.escape(f"The optimiser `{name}` keeps") + ".*" + re.escape(shown)
    with pytest.raises(ValueError, match=message + ".*: use one that"):
        eqx.filter_eval_shape(lambda m: optimiser.init(m).forget(marks, m), model)


@pytest.mark.parametrize(
    "optimiser",
    [
        *(optax.adam, optax.yogi, optax.adadelta, optax.rmsprop, optax.contrib.ademamix),
        *(optax.lion, optax.contrib.prodigy, accumulated),
    ],
)
def test_state_of_every_entry_is_forgotten(optimiser):
    optimiser, model = Optimiser(optimiser, learning_rate=0.1), mlp(6, 6, **NETWORK)
    params = eqx.filter(model, eqx.is_inexact_array)
    marks = jax.tree.map(lambda p: jnp.zeros(p.shape, bool), params)
    first = eqx.filter_eval_shape(optimiser.init, model)
    after = eqx.filter_eval_shape(lambda m: optimiser.init(m).forget(marks, m), model)
    assert jax.tree.structure(first) == jax.tree.structure(after)
    assert jax.tree.leaves(first.state) == jax.tree.leaves(after.state)


def test_a_run_is_rejected_before_it_trains():
    setting = permuted({"width": 6, "depth": 1}, num_tasks=1, steps_per_task=4)
    algo = Algorithm(optax.adafactor(0.1), transforms=(algorithms.Reset(part="head"),))
    with pytest.raises(ValueError, match="cannot forget single entries"):
        check_parts(setting.model, setting.stream, algo)


@pytest.mark.slow
def test_a_reset_of_the_whole_network_starts_any_optimiser_again():
    setting = permuted({"width": 6, "depth": 1}, num_tasks=1, steps_per_task=4)
    check_parts(setting.model, setting.stream, algorithms.reset(optax.adafactor(0.1)))
    cbp = algorithms.cbp(Optimiser(factored, learning_rate=0.1))
    with pytest.raises(ValueError, match="cannot forget single entries"):
        check_parts(setting.model, setting.stream, cbp)
