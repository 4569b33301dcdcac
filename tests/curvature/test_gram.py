"""The Gram matrix shares its eigenvalues with the Gauss-Newton and Fisher matrices."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import mlp, over_examples
from layered_networks import drawn
from programs import largest

from spectral.curvature import (
    closed_risk,
    Empirical,
    Exact,
    Fisher,
    Gram,
    Risk,
    Sampled,
    SoftmaxCrossEntropy,
    SquaredError,
)


FACTORS = {
    "exact": (Exact(), 3),
    "empirical": (Empirical(), 1),
    "sampled": (Sampled(jax.random.key(1), num_samples=2), 2),
}


@pytest.mark.parametrize(("factor", "columns"), FACTORS.values(), ids=FACTORS)
def test_the_vectors_of_a_gram_matrix(factor, columns):
    case = mlp()
    labels = jnp.asarray(np.zeros(7, int))
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=3)
    fisher = Fisher(risk, case.model, factor=factor)
    gram = fisher.gram()
    assert gram.structure.shape == (7, columns)
    assert (gram.dim, gram.parameters) == (7 * columns, fisher.dim)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_a_sampled_fisher_matrix_is_unbiased_and_converges(getkey):
    case = mlp()
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, jnp.zeros(7, int))
    flat, outputs = case.flat()
    jacobian = jax.jit(jax.jacfwd(outputs))(flat)
    z, rows, keys = outputs(flat), jnp.arange(7), jax.random.split(getkey(), 500)

    @functools.partial(jax.jit, static_argnums=1)
    @functools.partial(jax.vmap, in_axes=(0, None))
    def fishers(key, samples):
        columns = Sampled(key, num_samples=samples).columns(risk.loss, z, risk.targets, rows)
        gradients = jnp.einsum("kno,nop->knp", columns, jacobian)
        return jnp.einsum("knp,knq->pq", gradients, gradients) / 7

    # The operator computes one of these; many are computed at once.
    of_operator, exact = eqx.filter_jit(lambda o: [x.dense() for x in o])(
        [Fisher(risk, case.model, factor=Sampled(keys[0], num_samples=1)), Fisher(risk, case.model)]
    )
    one = fishers(keys, 1)
    np.testing.assert_allclose(of_operator, one[0], rtol=1e-9, atol=1e-13)
    sem = np.std(one, axis=0, ddof=1) / 500**0.5
    assert np.all(np.abs(np.mean(one, axis=0) - exact) <= 5 * sem + 1e-12)
    error = lambda found: np.mean(np.linalg.norm(found - exact[None], axis=(1, 2)))
    few, many = error(one), error(fishers(keys[:20], 1000))
    # One over the square root of the number of draws, here 0.032.
    assert 0.025 * few < many < 0.04 * few
    assert many < 0.05 * np.linalg.norm(exact)


def test_the_factor_is_never_in_memory():
    """300 rows by 903 parameters: at most 64 rows at a time, and the matrix itself."""
    model = drawn(lambda key: eqx.nn.Linear(300, 3, key=key), np.random.default_rng(0))
    inputs, labels = np.ones((100, 300), np.float32), np.zeros(100, int)
    risk = Risk(over_examples, SoftmaxCrossEntropy(), inputs, labels, batch_size=20)
    gram = Gram(risk, model)
    assert (gram.dim, gram.parameters) == (300, 903)
    jaxpr = eqx.filter_make_jaxpr(lambda o: o.dense())(gram)[0]
    assert largest(jaxpr.jaxpr) <= 300**2


def test_many_columns_of_one_example_are_taken_in_parts():
    """150 columns in one example: at most 64 of them at a time."""
    inputs = np.random.default_rng(0).normal(size=(50, 301)).astype(np.float32)
    weights = jnp.asarray(np.ones((301, 3), np.float32))
    gram = Gram(closed_risk(lambda w: inputs @ w, lambda z: jnp.sum(z**2) / 2), weights)
    assert (gram.dim, gram.parameters) == (150, 903)
    dense = lambda o: o.dense()
    assert largest(eqx.filter_make_jaxpr(dense)(gram)[0].jaxpr) <= 64 * 903
    small = np.linalg.eigvalsh(eqx.filter_jit(dense)(gram))
    large = np.repeat(np.linalg.eigvalsh(inputs @ inputs.T), 3)
    np.testing.assert_allclose(small, large, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_equal_and_dead_networks():
    """Equal examples share an eigenvector. A dead network has the zero matrix except for its last
    bias."""
    make = lambda key: eqx.nn.MLP(2, 2, 3, 1, key=key)
    model = drawn(make, np.random.default_rng(0))
    dead = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.full(3, -100.0))
    inputs = jnp.stack([jnp.ones(2), jnp.ones(2), jnp.zeros(2)])
    risk = Risk(over_examples, SquaredError(), inputs, jnp.zeros((3, 2)))
    same, none = eqx.filter_jit(lambda o: [x.dense() for x in o])(
        [Gram(risk, model), Gram(risk, dead)]
    )
    assert np.linalg.matrix_rank(same) <= 4
    expected = np.kron(np.ones((3, 3)), np.eye(2)) / 3
    np.testing.assert_allclose(none, expected, rtol=1e-12, atol=1e-15)
