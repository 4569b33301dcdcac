"""The Gram matrix shares its eigenvalues with the Gauss-Newton and Fisher matrices."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import mlp, over_examples
from programs import largest

from spectral.curvature import (
    AbstractOperator,
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
    "exact": Exact,
    "empirical": Empirical,
    "sampled": lambda: Sampled(jax.random.key(1), num_samples=2),
}
COLUMNS = {"exact": 3, "empirical": 1, "sampled": 2}


@eqx.filter_jit
def matrices(fisher):
    gram = fisher.gram()
    return fisher.dense(), gram.dense(), AbstractOperator.dense(gram)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", FACTORS)
def test_eigenvalues_are_shared(name, getkey):
    """By the fast and by the slow way to the matrix."""
    case = mlp(getkey())
    labels = jax.random.randint(getkey(), (7,), 0, 3)
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels)
    fisher = Fisher(risk, case.model, factor=FACTORS[name]())
    gram = fisher.gram()
    assert gram.structure.shape == (7, COLUMNS[name])
    assert (gram.dim, gram.parameters) == (7 * COLUMNS[name], fisher.dim)
    large, small, by_products = map(np.asarray, matrices(fisher))
    np.testing.assert_allclose(small, by_products, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(small, small.T, rtol=1e-14, atol=1e-16)
    shared = np.linalg.eigvalsh(small)[::-1]
    nonzero = np.linalg.eigvalsh(large)[::-1][: gram.dim]
    np.testing.assert_allclose(shared[: nonzero.size], nonzero, rtol=1e-9, atol=1e-12)
    assert shared[0] > 1e-2
    rank = np.sum(shared > 1e-12)
    assert rank <= {"exact": 7 * 2, "empirical": 7, "sampled": 7 * 2}[name]
    if name == "exact":
        assert rank == 14  # and no less, or the bound above would say nothing


@pytest.mark.usefixtures("float64")
def test_the_matrix_is_that_of_gradients(getkey):
    case = mlp(getkey())
    targets = jax.random.normal(getkey(), (7, 3))
    risk = Risk(case.forward, SquaredError(scale=2.0), case.inputs, targets, batch_size=4)
    flat, outputs = case.flat()
    jacobian = jax.jit(jax.jacfwd(outputs))(flat).reshape(21, -1)
    gram = Gram(risk, case.model)
    dense = eqx.filter_jit(lambda operator: operator.dense())(gram)
    np.testing.assert_allclose(dense, 4 * jacobian @ jacobian.T / 7, rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("float64")
def test_a_sampled_fisher_matrix_is_unbiased_and_converges(getkey):
    case = mlp(getkey())
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

    # That this is what the operator computes, and then many of them at once.
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


def test_the_factor_is_never_held(getkey):
    """200 rows by 903 parameters: at most 64 rows at a time, and the matrix itself."""
    model = eqx.nn.Linear(300, 3, key=getkey())
    inputs, labels = jnp.ones((100, 300)), jnp.zeros(100, int)
    risk = Risk(over_examples, SoftmaxCrossEntropy(), inputs, labels, batch_size=20)
    gram = Gram(risk, model)
    assert (gram.dim, gram.parameters) == (300, 903)
    jaxpr = eqx.filter_make_jaxpr(lambda o: o.dense())(gram)[0]
    assert largest(jaxpr.jaxpr) <= 300**2


def test_neither_are_all_columns_of_one_example(getkey):
    inputs = jax.random.normal(getkey(), (50, 301))
    weights = jax.random.normal(getkey(), (301, 3))
    gram = Gram(closed_risk(lambda w: inputs @ w, lambda z: jnp.sum(z**2) / 2), weights)
    assert (gram.dim, gram.parameters) == (150, 903)
    jaxpr = eqx.filter_make_jaxpr(lambda o: o.dense())(gram)[0]
    assert largest(jaxpr.jaxpr) <= 64 * 903
    small = np.linalg.eigvalsh(gram.dense())
    large = np.repeat(np.linalg.eigvalsh(inputs @ inputs.T), 3)
    np.testing.assert_allclose(small, large, rtol=1e-4)


@pytest.mark.usefixtures("float64")
def test_equal_and_dead_networks(getkey):
    """Two examples that are the same share an eigenvector; a dead network has the zero matrix
    but for its last bias."""
    model = eqx.nn.MLP(2, 2, 3, 1, key=getkey())
    dead = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.full(3, -100.0))
    inputs = jnp.stack([jnp.ones(2), jnp.ones(2), jnp.zeros(2)])
    risk = Risk(over_examples, SquaredError(), inputs, jnp.zeros((3, 2)))
    same, none = eqx.filter_jit(lambda o: [x.dense() for x in o])(
        [Gram(risk, model), Gram(risk, dead)]
    )
    assert np.linalg.matrix_rank(same) <= 4
    expected = np.kron(np.ones((3, 3)), np.eye(2)) / 3
    np.testing.assert_allclose(none, expected, rtol=1e-12, atol=1e-15)
