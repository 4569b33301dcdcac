"""The mean over examples, for any batch size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import mlp, normal, over_examples
from jax.flatten_util import ravel_pytree
from layered_networks import drawn
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
from spectral.curvature.risk._parameters import split_parameters
from spectral.models import FrozenGates, MLP


def risk_of(batch_size):
    case, labels = mlp(), jnp.asarray(np.array([0, 1, 2, 2, 1, 0, 0]))
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=batch_size)
    return risk, case.model


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_batch_size_does_not_matter():
    sampled = Sampled(jax.random.key(4), num_samples=2)
    programs = [
        lambda risk, model: risk(model),
        lambda risk, model: _image(Gram(risk, model, factor=sampled)),
        lambda risk, model: Gram(risk, model, factor=sampled).dense(),
    ]

    @eqx.filter_jit
    def run(risk, model):
        return [ravel_pytree(program(risk, model))[0] for program in programs]

    whole = run(*risk_of(None))
    for result in whole:
        assert np.linalg.norm(result) > 1e-3
    for a, b in zip(run(*risk_of(3)), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def _image(operator):
    flat = jnp.sin(1.0 + jnp.arange(operator.dim))
    return operator.flat_product()(flat)


@pytest.mark.usefixtures("float64")
def test_the_mean():
    risk, model = risk_of(3)
    assert (risk.num_examples, risk.num_batches, risk.batch_size) == (7, 3, 3)

    @eqx.filter_jit
    def program(risk, model):
        return (
            risk(model),
            risk.each(lambda part: (part.targets, part.indices)),
            risk.accumulate(lambda part: jnp.sum(part.weights)),
            risk.accumulate(lambda part: jnp.sum(part.weights * part.targets)),
            over_examples(model, risk.inputs),
        )

    mean, (targets, indices), total, counted, outputs = program(risk, model)
    log_sum = np.log(np.sum(np.exp(outputs), axis=1))
    expected = np.mean(log_sum - np.asarray(outputs)[np.arange(7), risk.targets])
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    np.testing.assert_array_equal(targets, risk.targets)
    np.testing.assert_array_equal(indices, np.arange(7))
    np.testing.assert_allclose(total, 1)
    np.testing.assert_allclose(counted, np.mean(risk.targets))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_sum_is_a_multiple_of_the_mean():
    risk, model = risk_of(3)
    dynamic, static = eqx.partition(model, eqx.is_array)
    flat, unravel = ravel_pytree(dynamic)

    def total(flat):
        outputs = over_examples(eqx.combine(unravel(flat), static), risk.inputs)
        return -jnp.sum(jax.nn.log_softmax(outputs)[jnp.arange(7), risk.targets])

    found = eqx.filter_jit(lambda o: o.dense())(risk.num_examples * Hessian(risk, model))
    np.testing.assert_allclose(found, jax.jit(jax.hessian(total))(flat), rtol=1e-8, atol=1e-11)


def test_a_batch_larger_than_the_data_holds_all():
    risk, _ = risk_of(100)
    assert (risk.batch_size, risk.num_batches) == (7, 1)
    assert not risk.accumulate(lambda part: part.padded)
    # Only a batch that is not full is padded.
    assert [risk_of(size)[0].batch(jnp.asarray([0])).padded for size in (3, 7)] == [True, False]


def test_nothing_is_stacked_over_batches():
    """No array inside or outside the loop is as large as what one pass over all data would keep."""
    num_examples, width = 64, 50
    make = lambda key: eqx.nn.MLP(2, 2, width, 1, activation=jnp.tanh, key=key)
    model = drawn(make, np.random.default_rng(0))
    data = np.ones((num_examples, 2), np.float32)
    for batch_size, small in ((None, False), (4, True)):
        risk = Risk(over_examples, SquaredError(), data, data, batch_size=batch_size)
        for operator in (Hessian(risk, model), GaussNewton(risk, model), Gram(risk, model)):
            jaxpr = eqx.filter_make_jaxpr(_image)(operator)[0].jaxpr
            assert (largest(jaxpr) < num_examples * width) == small


@pytest.mark.usefixtures("float64")
def test_a_network_and_a_loss_that_contain_their_data():
    """The loss may couple everything: there are no examples."""
    rng = np.random.default_rng(0)
    inputs, params = normal(rng, 4, 3), normal(rng, 3, 2)
    forward = lambda w: {"a": jnp.tanh(inputs @ w), "b": jnp.sum(w**3)}

    def loss(outputs):
        return jax.nn.logsumexp(outputs["a"]) + (outputs["b"] - outputs["a"][0, 0]) ** 2

    risk = closed_risk(forward, loss)

    @eqx.filter_jit
    def program(operators, params):
        flat, unravel = ravel_pytree(forward(params))
        joined = lambda w: ravel_pytree(forward(w.reshape(3, 2)))[0]
        jacobian = jax.jacfwd(joined)(params.ravel())
        expected = jacobian.T @ jax.hessian(lambda z: loss(unravel(z)))(flat) @ jacobian
        return [o.dense() for o in operators], expected, risk(params), loss(forward(params))

    ggn = GaussNewton(risk, params)
    gram = ggn.gram()
    assert (gram.dim, gram.parameters) == (9, 6)
    (matrix, small), expected, mean, value = program([ggn, gram], params)
    np.testing.assert_allclose(mean, value, rtol=1e-12)
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(small)[3:], np.linalg.eigvalsh(expected), rtol=1e-8, atol=1e-12
    )
    with pytest.raises(ValueError, match=r"`loss` returned an array of float64 \(4, 2\)"):
        eqx.filter_eval_shape(closed_risk(forward, lambda outputs: outputs["a"]), params)


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
def test_bad_data(inputs, targets, message):
    with pytest.raises(ValueError, match=message):
        Risk(over_examples, SquaredError(), inputs, targets)


@pytest.mark.parametrize("batch_size", [0, -3, True])
def test_bad_batch_sizes(batch_size):
    with pytest.raises(ValueError, match="`batch_size` is .*integer of at least 1"):
        Risk(
            over_examples, SquaredError(), jnp.ones((5, 2)), jnp.ones((5, 3)), batch_size=batch_size
        )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z, y: z - y, r"float32 \(7, 3\) for 7 examples.*sum over all axes"),
        (lambda z, y: (jnp.sum(z), z), "returned a tuple"),
        (lambda z, y: jnp.argmax(z, axis=1), "int32"),
    ],
)
def test_bad_losses(loss, message):
    case = mlp()
    risk = Risk(case.forward, loss, case.inputs, np.ones((7, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(risk, case.model)
    for operator in (Hessian(risk, case.model), GaussNewton(risk, case.model)):
        with pytest.raises(ValueError, match=message):
            eqx.filter_eval_shape(operator.mv, eqx.filter(case.model, eqx.is_array))


def test_frozen_weights_and_masks_of_a_module_are_constants():
    """Integers and Booleans are parameters by mistake only in dicts and lists."""
    gates = eqx.filter_eval_shape(lambda k: FrozenGates(3, 2, width=4, key=k), jax.random.key(0))
    sparse = eqx.filter_eval_shape(
        lambda k: MLP(3, 2, width=4, depth=1, density=0.5, key=k), jax.random.key(0)
    )
    zeros = lambda model: jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, model
    )
    for model, shapes in ((gates, [(4, 3)]), (sparse, [(4, 3), (4,), (2, 4), (2,)])):
        dynamic, constants = split_parameters(zeros(model))
        assert [leaf.shape for leaf in jax.tree.leaves(dynamic)] == shapes
        assert eqx.combine(dynamic, constants).units()[0].size == 4
    with pytest.raises(ValueError, match=r"an array of int32 at \['n'\]"):
        split_parameters({"n": np.arange(3, dtype=np.int32)})
