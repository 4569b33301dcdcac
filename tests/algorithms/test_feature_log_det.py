"""The penalty on the log-determinant of the features against NumPy."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from signals import arrays, clock_at, mlp, step_at

from spectral._types import Aux, Chunk
from spectral.algorithms import feature_log_det, FeatureLogDet


INPUTS = np.random.default_rng(0).normal(size=(4, 3, 3))  # minibatches of 3 examples


def log_det(features, delta):
    centred = features - features.mean(axis=0, keepdims=True)
    gram = centred.T @ centred / len(features)
    return np.linalg.slogdet(delta * np.eye(gram.shape[0]) + gram)[1]


def expected(weights, rows, delta):
    """Minus 0.7 times the mean over the two hidden layers."""
    total = 0.0
    for weight, bias in (weights[:2], weights[2:4]):
        rows = np.tanh(rows @ weight.T + bias)
        total += log_det(rows, delta)
    return -0.7 * total / 2


@pytest.mark.parametrize("window", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_value_and_gradient(window, float64):
    """With fewer examples than units, and with more. The window ends with the minibatch of the
    step, and reads the end of the chunk at its start."""
    model = mlp(3, 2, width=4, depth=2, activation=jnp.tanh)
    penalty = FeatureLogDet(0.7, delta=0.1, window=window)
    measure = eqx.filter_jit(
        lambda m, step: eqx.filter_value_and_grad(penalty.value)(m, None, step)
    )
    at = lambda i: replace(
        step_at(model, jnp.asarray(INPUTS)), clock=clock_at(i), batch=jnp.asarray(INPUTS[i])
    )
    weights = [np.array(a) for a in arrays(model)]
    for i, rows in ((2, INPUTS[[2, 1]]), (0, INPUTS[[0, 3]])):
        value, grads = measure(model, at(i))
        rows = rows[:window].reshape(-1, 3)
        np.testing.assert_allclose(value, expected(weights, rows, 0.1), rtol=1e-9)
        for leaf, grad in zip(weights, map(np.asarray, arrays(grads)), strict=True):
            index = (0,) * leaf.ndim
            before, slopes = leaf[index], []
            for sign in (1, -1):
                leaf[index] = before + sign * 1e-5
                slopes.append(expected(weights, rows, 0.1))
            leaf[index] = before
            np.testing.assert_allclose(grad[index], (slopes[0] - slopes[1]) / 2e-5, atol=1e-7)


def with_taps(taps):
    """A step of a chunk in which the network has these activations."""
    step = step_at(jnp.zeros(()), jnp.zeros((4, 2, 1)))
    forward = lambda model, state, batch, *, key, inference: (batch, Aux(taps, state))
    return replace(step, forward=forward, chunk=Chunk(jnp.zeros((4, 2, 1))))


@pytest.mark.slow
def test_positions_of_a_convolution_are_examples():
    maps = np.random.default_rng(1).normal(size=(2, 3, 5, 1))
    step = with_taps({"conv_0": jnp.asarray(maps, jnp.float32)})
    found = FeatureLogDet(1.0, delta=0.2).value(step.model, None, step)
    rows = np.moveaxis(maps, 1, -1).reshape(10, 3)
    np.testing.assert_allclose(found, -log_det(rows, 0.2), rtol=1e-5)


def test_what_it_rejects():
    value = lambda taps: FeatureLogDet(1.0).value(None, None, with_taps(taps))
    with pytest.raises(ValueError, match="returned no activations, but `FeatureLogDet` needs"):
        value({})
    with pytest.raises(ValueError, match="`window` is 1 with minibatches of one example"):
        value({"hidden_0": jnp.ones((1, 4))})
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"strength": -1.0}, "`strength` is -1.0"),
        ({"delta": 0.0}, "`delta` is 0.0"),
        ({"window": 0}, "`window` is 0"),
        ({"weight_decay": -1.0}, "`weight_decay` is -1.0"),
    )
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            feature_log_det(0.1, **options)
