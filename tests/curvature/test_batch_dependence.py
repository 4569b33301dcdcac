"""Networks whose outputs for an example depend on the other examples of its batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal, over_examples, residual_network

from spectral.curvature import (
    check_batch_independent,
    EKFAC,
    Fisher,
    GaussNewton,
    Gram,
    Hessian,
    KFAC,
    Risk,
    SquaredError,
)


OPERATORS = {f.__name__: f for f in (Hessian, GaussNewton, Fisher, Gram, KFAC, EKFAC)}


def centred(model, inputs):
    """Normalised by hand over the batch."""
    outputs = jax.vmap(model)(inputs)
    return outputs - jnp.mean(outputs, axis=0, keepdims=True)


def data(num_examples=5):
    rng = np.random.default_rng(0)
    make = lambda: eqx.nn.Linear(2, 3, key=jax.random.key(0))
    model = jax.tree.map(lambda s: normal(rng, *s.shape), eqx.filter_eval_shape(make))
    return model, normal(rng, num_examples, 2), normal(rng, num_examples, 3)


def largest_of_all(model, inputs):
    outputs = jax.vmap(model)(inputs)
    return outputs / jnp.max(jnp.abs(outputs))


def from_the_first(model, inputs):
    outputs = jax.vmap(model)(inputs)
    return outputs - outputs[:1]


def in_pairs(model, inputs):
    """Ghost batch norm in groups of two."""
    outputs = jax.vmap(model)(inputs)
    groups = outputs.reshape(-1, min(2, len(outputs)), outputs.shape[1])
    return (groups - jnp.mean(groups, axis=1, keepdims=True)).reshape(outputs.shape)


def in_the_second_half(model, inputs):
    outputs = jax.vmap(model)(inputs)
    return outputs if len(outputs) < 4 else outputs.at[2:].multiply(2)


@pytest.mark.parametrize(
    "forward",
    [
        largest_of_all,
        in_pairs,
        pytest.param(from_the_first, marks=pytest.mark.slow),
        pytest.param(in_the_second_half, marks=pytest.mark.slow),
    ],
)
def test_dependence_on_the_place_in_a_batch(forward):
    """The first half of a batch alone may not show it."""
    model, inputs, _ = data()
    inputs = inputs.at[0].multiply(10)  # the largest output is that of the first example
    with pytest.raises(ValueError, match="depend on the other examples"):
        check_batch_independent(forward, model, inputs)


SLOW = ("GaussNewton", "EKFAC")  # as Fisher and KFAC


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in OPERATORS]
)
def test_operators_reject_them(name):
    model, inputs, targets = data()
    risk = Risk(centred, SquaredError(), inputs, targets, batch_size=2)
    message = r"they change by .*%.* of 4 examples and of one .*inference_mode.*`batch_dependent="
    with pytest.raises(ValueError, match=message):
        OPERATORS[name](risk, model)


def test_those_who_mean_it():
    model, inputs, targets = data()
    for size in (2, 5):
        risk = Risk(centred, SquaredError(), inputs, targets, batch_size=size, batch_dependent=True)
        for make in (Hessian, GaussNewton, Fisher, Gram):
            make(risk, model)


@pytest.mark.slow
def test_batch_norm_in_training_mode():
    case = residual_network()
    check_batch_independent(case.forward, case.model, case.inputs)
    training = eqx.nn.inference_mode(case.model, value=False)
    training = eqx.tree_at(lambda m: m.dropout.p, training, 0)
    with pytest.raises(ValueError, match="depend on the other examples"):
        check_batch_independent(_Training(case.forward.state), training, case.inputs)


class _Training(eqx.Module):
    state: eqx.nn.State

    def __call__(self, model, inputs):
        call = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        return call(inputs, self.state)[0]


@pytest.mark.slow
def test_what_passes():
    model, inputs, _ = data()
    check_batch_independent(centred, model, inputs[:1])  # nothing to divide
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model)
    check_batch_independent(over_examples, half, inputs)
    zero = lambda model, inputs: jnp.zeros((inputs.shape[0], 2))
    check_batch_independent(zero, model, inputs)
    check_batch_independent(centred, model, inputs, tolerance=1e3)
    with pytest.raises(ValueError, match="`tolerance` is 0"):
        check_batch_independent(over_examples, model, inputs, tolerance=0)


def test_pairs_of_examples():
    model, inputs, _ = data()
    with pytest.raises(ValueError, match="batches of 2 examples and of one"):
        check_batch_independent(centred, model, inputs[:2])


def test_under_jit():
    """Arguments have no values, but what a function closes over has."""
    model, inputs, targets = data()
    wrong = Risk(centred, SquaredError(), inputs, targets)
    eqx.filter_eval_shape(lambda risk, m: GaussNewton(risk, m).product() and 0, wrong, model)
    with pytest.raises(ValueError, match="depend on the other examples"):
        eqx.filter_eval_shape(lambda: GaussNewton(wrong, model).product() and 0)
