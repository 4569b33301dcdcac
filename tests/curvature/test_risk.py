"""The mean over examples, however they are cut into chunks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import mlp, over_examples
from jax.flatten_util import ravel_pytree
from programs import largest

from spectral.curvature import (
    closed_risk,
    GaussNewton,
    Gram,
    Hessian,
    Risk,
    Sampled,
    SoftmaxCrossEntropy,
    SquaredError,
)


def risk_of(key, batch_size):
    case = mlp(key)
    labels = jnp.asarray([0, 1, 2, 2, 1, 0, 0])
    return Risk(
        case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=batch_size
    ), case.model


@pytest.mark.usefixtures("float64")
def test_the_chunk_does_not_matter(getkey):
    key = getkey()
    sampled = Sampled(jax.random.key(4), num_samples=2)
    programs = [
        lambda risk, model: risk(model),
        lambda risk, model: _image(Gram(risk, model, factor=sampled)),
        lambda risk, model: Gram(risk, model, factor=sampled).dense(),
    ]

    @eqx.filter_jit
    def run(risk, model):
        return [ravel_pytree(program(risk, model))[0] for program in programs]

    whole = run(*risk_of(key, None))
    for result in whole:
        assert np.linalg.norm(result) > 1e-3
    for a, b in zip(run(*risk_of(key, 3)), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def _image(operator):
    flat = jnp.sin(1.0 + jnp.arange(operator.dim))
    return operator.flat_product()(flat)


@pytest.mark.usefixtures("float64")
def test_the_mean(getkey):
    risk, model = risk_of(getkey(), 3)
    outputs = over_examples(model, risk.inputs)
    expected = -jnp.mean(jax.nn.log_softmax(outputs)[jnp.arange(7), risk.targets])
    np.testing.assert_allclose(risk(model), expected, rtol=1e-12)
    assert (risk.num_examples, risk.num_batches, risk.batch_size) == (7, 3, 3)
    np.testing.assert_array_equal(risk.each(lambda part: part.targets), risk.targets)
    np.testing.assert_array_equal(risk.each(lambda part: part.indices), jnp.arange(7))
    np.testing.assert_allclose(risk.accumulate(lambda part: jnp.sum(part.weights)), 1)
    counted = risk.accumulate(lambda part: jnp.sum(part.weights * part.targets))
    np.testing.assert_allclose(counted, jnp.mean(risk.targets))


@pytest.mark.usefixtures("float64")
def test_the_sum_is_a_multiple_of_the_mean(getkey):
    risk, model = risk_of(getkey(), 3)
    dynamic, static = eqx.partition(model, eqx.is_array)
    flat, unravel = ravel_pytree(dynamic)

    def total(flat):
        outputs = over_examples(eqx.combine(unravel(flat), static), risk.inputs)
        return -jnp.sum(jax.nn.log_softmax(outputs)[jnp.arange(7), risk.targets])

    found = eqx.filter_jit(lambda o: o.dense())(risk.num_examples * Hessian(risk, model))
    np.testing.assert_allclose(found, jax.jit(jax.hessian(total))(flat), rtol=1e-8, atol=1e-11)


def test_chunks_larger_than_the_data_are_one_pass(getkey):
    risk, _ = risk_of(getkey(), 100)
    assert (risk.batch_size, risk.num_batches) == (7, 1)
    assert not risk.accumulate(lambda part: part).padded


def test_nothing_is_stacked_over_chunks(getkey):
    """No array inside or outside the loop is as large as what one pass over all data would keep."""
    examples, width = 64, 50
    model = eqx.nn.MLP(2, 2, width, 1, activation=jnp.tanh, key=getkey())
    inputs = jnp.ones((examples, 2))
    for batch_size, small in ((None, False), (4, True)):
        risk = Risk(
            over_examples, SquaredError(), inputs, jnp.ones((examples, 2)), batch_size=batch_size
        )
        for operator in (Hessian(risk, model), GaussNewton(risk, model), Gram(risk, model)):
            jaxpr = eqx.filter_make_jaxpr(_image)(operator)[0].jaxpr
            assert (largest(jaxpr) < examples * width) == small


@pytest.mark.usefixtures("float64")
def test_a_forward_pass_and_a_loss_that_hold_their_data(getkey):
    """The loss may couple everything: there are no examples."""
    inputs = jax.random.normal(getkey(), (4, 3))
    params = jax.random.normal(getkey(), (3, 2))
    forward = lambda w: {"a": jnp.tanh(inputs @ w), "b": jnp.sum(w**3)}

    def loss(outputs):
        return jax.nn.logsumexp(outputs["a"]) + (outputs["b"] - outputs["a"][0, 0]) ** 2

    flat, unravel = ravel_pytree(forward(params))
    joined = lambda w: ravel_pytree(forward(w.reshape(3, 2)))[0]
    jacobian = jax.jit(jax.jacfwd(joined))(params.ravel())
    expected = jacobian.T @ jax.jit(jax.hessian(lambda z: loss(unravel(z))))(flat) @ jacobian
    risk = closed_risk(forward, loss)
    np.testing.assert_allclose(risk(params), loss(forward(params)), rtol=1e-12)
    dense = eqx.filter_jit(lambda operator: operator.dense())
    matrix = dense(GaussNewton(risk, params))
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-12)
    gram = GaussNewton(risk, params).gram()
    assert (gram.dim, gram.parameters) == (9, 6)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(dense(gram))[3:], np.linalg.eigvalsh(expected), rtol=1e-8, atol=1e-12
    )
    with pytest.raises(ValueError, match=r"`loss` returned an array of float64 \(4, 2\)"):
        closed_risk(forward, lambda outputs: outputs["a"])(params)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (
            jnp.ones((0, 2)),
            jnp.ones((0, 3)),
            r"shapes \[\(0, 2\), \(0, 3\)\].*at least one example",
        ),
        (jnp.ones((5, 2)), jnp.ones((4, 3)), "same leading axis"),
        (jnp.ones(()), jnp.ones(()), "same leading axis"),
        ({}, {}, "same leading axis"),
    ],
)
def test_data_that_are_refused(inputs, targets, message):
    with pytest.raises(ValueError, match=message):
        Risk(over_examples, SquaredError(), inputs, targets)


@pytest.mark.parametrize("batch_size", [0, -3, True])
def test_chunks_that_are_refused(batch_size):
    with pytest.raises(ValueError, match="`batch_size` is .*integer of at least 1"):
        Risk(
            over_examples, SquaredError(), jnp.ones((5, 2)), jnp.ones((5, 3)), batch_size=batch_size
        )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z, y: z - y, r"float32 \(7, 3\) for 7 examples.*sum over everything"),
        (lambda z, y: (jnp.sum(z), z), "returned a tuple"),
        (lambda z, y: jnp.argmax(z, axis=1), "int32"),
    ],
)
def test_losses_that_are_refused(loss, message, getkey):
    case = mlp(getkey())
    risk = Risk(case.forward, loss, case.inputs, jnp.ones((7, 3)))
    with pytest.raises(ValueError, match=message):
        risk(case.model)
    for operator in (Hessian(risk, case.model), GaussNewton(risk, case.model)):
        with pytest.raises(ValueError, match=message):
            operator.mv(eqx.filter(case.model, eqx.is_array))
