"""Jacobians, the gradients of single examples, and the exact diagonal, against JAX and NumPy."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import mlp, normal
from jax.flatten_util import ravel_pytree

from spectral.curvature import (
    Block,
    Empirical,
    Exact,
    ExactDiagonal,
    example_gradients,
    Fisher,
    GaussNewton,
    jacobian,
    Matrix,
    Risk,
    SoftmaxCrossEntropy,
)


EXAMPLES = 70  # more than the diagonal takes at once
KEY = jax.random.key(0)


@eqx.filter_jit
def _program(risk, model, tangent, case):
    flat, outputs = case.flat()
    of_outputs = jacobian(risk, model)
    exact, fisher = GaussNewton(risk, model), Fisher(risk, model, factor=Empirical())
    estimate = ExactDiagonal()(exact, key=KEY)
    diagonal = lambda operator: ravel_pytree(ExactDiagonal()(operator, key=KEY).value)[0]
    gradients = jax.vmap(lambda g: ravel_pytree(g)[0])(example_gradients(risk, model))
    return {
        "matrix": of_outputs.as_matrix(),
        "back": ravel_pytree(of_outputs.T.mv(tangent))[0],
        "gradients": gradients,
        "exact": ravel_pytree(estimate.value)[0],
        "sem": ravel_pytree(estimate.sem)[0],
        "block": diagonal(Block(fisher, lambda m: m.layers[1].weight)),
        "outputs": outputs(flat),
        "jacobian": jax.jacfwd(outputs)(flat),
    }


@functools.cache
def found():
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        case = mlp()._replace(inputs=normal(rng, EXAMPLES, 2))
        labels, tangent = jnp.asarray(rng.integers(0, 3, EXAMPLES)), normal(rng, EXAMPLES, 3)
        risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=20)
        result = jax.tree.map(np.asarray, _program(risk, case.model, tangent, case))
    rest = np.exp(result["outputs"])
    probabilities = rest / rest.sum(axis=1, keepdims=True)
    return result, probabilities, np.asarray(labels), np.asarray(tangent)


def test_the_jacobian_maps_both_ways():
    result, _, _, tangent = found()
    expected = result["jacobian"].reshape(3 * EXAMPLES, -1)
    np.testing.assert_allclose(result["matrix"], expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(result["back"], tangent.ravel() @ expected, rtol=1e-10, atol=1e-12)


def test_the_gradients_of_single_examples():
    result, probabilities, labels, _ = found()
    expected = np.einsum("no,nop->np", probabilities - np.eye(3)[labels], result["jacobian"])
    np.testing.assert_allclose(result["gradients"], expected, rtol=1e-9, atol=1e-13)


def test_the_exact_diagonal():
    result, p, _, _ = found()
    hessians = np.einsum("no,op->nop", p, np.eye(3)) - np.einsum("no,np->nop", p, p)
    rows = result["jacobian"]
    expected = np.einsum("nap,nab,nbp->p", rows, hessians, rows) / EXAMPLES
    np.testing.assert_allclose(result["exact"], expected, rtol=1e-9, atol=1e-15)
    assert (result["sem"] == 0).all()
    # The block of the last weight, in the empirical matrix.
    squares = np.mean(result["gradients"] ** 2, axis=0)
    np.testing.assert_allclose(result["block"], squares[9:18], rtol=1e-9, atol=1e-15)


def test_matrices_without_a_factor():
    with pytest.raises(TypeError, match="A Matrix has no Gram matrix, but `ExactDiagonal` needs"):
        ExactDiagonal()(Matrix(jnp.eye(2)), key=KEY)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("factor", [Exact(), Empirical()])
def test_labels_that_do_not_count(factor):
    case = mlp()
    labels = jnp.asarray([0, 1, -1, 2, 2, -1, 0])
    loss = SoftmaxCrossEntropy(ignore_label=-1)
    risk = Risk(case.forward, loss, case.inputs, labels, batch_size=3)
    operator = Fisher(risk, case.model, factor=factor)
    diagonal = ravel_pytree(ExactDiagonal()(operator, key=KEY).value)[0]
    np.testing.assert_allclose(diagonal, np.diag(operator.dense()), rtol=1e-9, atol=1e-15)
    # The sum over the examples is that over the labels.
    gradients = example_gradients(risk, case.model)
    total = jax.tree.map(lambda g: jnp.sum(g, axis=0) / risk.num_labels, gradients)
    expected = eqx.filter_grad(lambda m: risk(m))(case.model)
    for own, other in zip(jax.tree.leaves(total), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-13)
