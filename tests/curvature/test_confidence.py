"""Curvature where predictions are confident, against the probabilities in float64."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral.curvature import (
    Empirical,
    Fisher,
    GaussNewton,
    Gram,
    Hessian,
    KFAC,
    Risk,
    Sampled,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from spectral.curvature.risk._sigmoid import drawn_labels
from spectral.models import CategoricalPolicy


NATS = (6.0, 17.0, 25.0, 80.0)
LOGITS = np.array([[n, 0, 0] for n in NATS], np.float32)
OPERATORS = ("hessian", "ggn", "fisher", "gram")


def shifted(shift, inputs):
    """Logits whose Jacobian in the parameters is the identity."""
    return inputs + shift


def over_examples(model, inputs):
    return jax.vmap(model)(inputs)


def linear(bias):
    """A layer with these outputs for an input of zeros."""
    model = eqx.filter_eval_shape(lambda: eqx.nn.Linear(1, 3, key=jax.random.key(0)))
    return eqx.tree_at(lambda m: (m.weight, m.bias), model, (jnp.zeros((3, 1)), bias))


def matrices(risk, params):
    return {"hessian": Hessian(risk, params).dense(), "ggn": GaussNewton(risk, params).dense()}


def measured(loss, logits, target, key):
    inputs, zeros = logits[None], jnp.zeros((1, 3))
    risk = Risk(shifted, loss, inputs, target[None])
    layer = Risk(over_examples, loss, jnp.zeros((1, 1)), target[None])
    return matrices(risk, zeros) | {
        "fisher": Fisher(risk, zeros).dense(),
        "gram": Gram(risk, zeros).dense(),
        "kfac": KFAC(layer, linear(logits)).blocks[0].outputs,
        "gradient": jax.grad(risk)(zeros)[0],
        "empirical": Empirical().columns(loss, inputs, target[None], jnp.arange(1))[0, 0],
        "sampled": loss.sampled_gradient(inputs, target[None], key=key)[0],
        "loss": risk(zeros),
    }


@functools.cache
def found():
    """Of both losses and several types, from one program. `lax.map` compiles one body for all
    logits."""

    def low(dtype):
        risk = lambda z: Risk(shifted, SoftmaxCrossEntropy(), z[None], jnp.zeros(1, int))
        one = lambda z: matrices(risk(z), jnp.zeros((1, 3), dtype))
        return jax.lax.map(one, jnp.asarray(LOGITS, dtype))

    @eqx.filter_jit
    def program(key):
        logits = jnp.asarray(LOGITS)
        softmax = lambda z: measured(SoftmaxCrossEntropy(), z, jnp.asarray(0), key)
        sigmoid = lambda z: measured(SigmoidCrossEntropy(), z, jnp.asarray([1.0, 0.0, 0.0]), key)
        policy = CategoricalPolicy(logits)
        product = lambda t: policy.fisher_product(CategoricalPolicy(jnp.broadcast_to(t, (4, 3))))
        return {
            "float32": jax.lax.map(softmax, logits),
            "bfloat16": low(jnp.bfloat16),
            "float16": low(jnp.float16),
            "sigmoid": jax.lax.map(sigmoid, jnp.concatenate([logits, -logits])),
            "policy": jax.lax.map(lambda t: product(t).logits, jnp.eye(3)).swapaxes(0, 1),
            "score": policy.sampled_score(key=key).logits,
        }

    return jax.tree.map(np.asarray, program(jax.random.key(0)))


def softmax_hessian(nats):
    """diag(p) - p p^T for logits (nats, 0, 0), without a difference of nearly equal numbers."""
    e = np.exp(-nats)
    others = 2 * e
    matrix = np.array([[others, -e, -e], [-e, e * (1 + e), -e * e], [-e, -e * e, e * (1 + e)]])
    return matrix / (1 + others) ** 2


LOW = [(dtype, name) for dtype in ("bfloat16", "float16") for name in ("hessian", "ggn")]


@pytest.mark.parametrize(("dtype", "name"), [*(("float32", name) for name in OPERATORS), *LOW])
def test_softmax(dtype, name):
    matrices = found()[dtype][name]
    assert matrices.dtype == np.float32
    for matrix, nats in zip(matrices.astype(float), NATS, strict=True):
        scale = np.exp(-nats)
        values, expected = np.linalg.eigvalsh(matrix), np.linalg.eigvalsh(softmax_hessian(nats))
        np.testing.assert_allclose(values / scale, expected / scale, rtol=1e-5, atol=1e-5)
        if name != "gram":  # its vectors are columns
            np.testing.assert_allclose(
                matrix / scale, softmax_hessian(nats) / scale, rtol=1e-5, atol=1e-5
            )


def test_the_case_of_25_nats():
    values = np.linalg.eigvalsh(found()["float32"]["ggn"][2])
    np.testing.assert_allclose(values, [0, 1.3887943e-11, 4.1663831e-11], rtol=1e-5, atol=1e-16)


def test_first_derivatives_and_factors_of_the_softmax():
    rows = found()["float32"]
    for index, nats in enumerate(NATS):
        scale = np.exp(-nats)
        gradient = np.array([-2.0, 1.0, 1.0]) / (1 + 2 * scale)
        for name in ("gradient", "empirical", "sampled"):  # the likely label is drawn
            np.testing.assert_allclose(rows[name][index] / scale, gradient, rtol=1e-5)
        np.testing.assert_allclose(rows["loss"][index], np.log1p(2 * scale), rtol=1e-5)
        np.testing.assert_allclose(
            rows["kfac"][index] / scale, softmax_hessian(nats) / scale, rtol=1e-5, atol=1e-5
        )


def test_a_policy():
    for index, nats in enumerate(NATS):
        expected = softmax_hessian(nats) / np.exp(-nats)
        matrix = found()["policy"][index] / np.exp(-nats)
        np.testing.assert_allclose(matrix, expected, rtol=1e-5, atol=1e-5)
        score = found()["score"][index] / np.exp(-nats)
        np.testing.assert_allclose(score, [-2, 1, 1] / (1 + 2 * np.exp(-nats)), rtol=1e-5)


@pytest.mark.parametrize("name", [*OPERATORS, "kfac"])
def test_sigmoid(name):
    """Also where the label, 1, is confidently rejected."""
    matrices = found()["sigmoid"][name]
    for matrix, nats in zip(matrices, np.concatenate([NATS, NATS]), strict=True):
        expected = np.exp(-nats) / (1 + np.exp(-nats)) ** 2
        np.testing.assert_allclose(np.diag(matrix), [expected, 0.25, 0.25], rtol=1e-5)


def test_first_derivatives_of_the_sigmoid():
    rows = found()["sigmoid"]
    for index, z in enumerate(np.concatenate([NATS, np.negative(NATS)])):
        sigmoid = lambda z: 1 / (1 + np.exp(-z))
        for name in ("gradient", "empirical"):
            np.testing.assert_allclose(rows[name][index, 0], -sigmoid(-z), rtol=1e-5)
        drawn = sigmoid(-abs(z)) * (-1 if z > 0 else 1)  # the likely label is drawn
        np.testing.assert_allclose(rows["sampled"][index, 0], drawn, rtol=1e-5)


@pytest.mark.slow
def test_rare_labels_are_drawn_as_often_as_they_are_likely():
    """Uniform numbers of float16 are multiples of 2^-10, to which rarer labels would be rounded
    up. Those of float32 are multiples of 2^-23."""
    draw = jax.jit(lambda z, key: jnp.mean(drawn_labels(z, key=key)))
    for nats in (-9.0, -2.0, 2.0, 9.0):
        p = 1 / (1 + np.exp(-nats))
        found = draw(jnp.full(2**18, nats, jnp.float16), jax.random.key(1))
        assert abs(found - p) < 5 * np.sqrt(p * (1 - p) / 2**18) + 1e-6


@pytest.mark.slow
def test_an_operator_samples_the_confident_gradient():
    risk = Risk(shifted, SoftmaxCrossEntropy(), jnp.asarray([[25.0, 0, 0]]), jnp.asarray([0]))
    fisher = Fisher(risk, jnp.zeros((1, 3)), factor=Sampled(jax.random.key(0), num_samples=2))
    gradient = np.array([-2.0, 1, 1]) * np.exp(-12.5) * np.exp(-12.5)
    np.testing.assert_allclose(fisher.dense(), np.outer(gradient, gradient), rtol=1e-5)
