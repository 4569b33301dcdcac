"""What a budget of steps reaches on a linearised network, and kernels of permuted inputs."""

import functools

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import mlp
from theory_profile import broken, COUNTS, Tally, tried

from spectral import models, theory
from spectral.curvature import Risk, SoftmaxCrossEntropy, SquaredError
from spectral.theory import strategies


pytestmark = pytest.mark.usefixtures("float64")
BUDGETS = st.tuples(st.sampled_from([0.05, 0.1, 0.3]), st.sampled_from([1, 7, 40]))
SHRINKAGES = st.sampled_from([0.1, 0.5, 0.9])
PROBLEMS = (strategies.numbers(4, 3), strategies.numbers(4), BUDGETS, SHRINKAGES)


def spectrum_of(matrix, residual):
    """Of a linear model f(x) = x . theta with N = 4 and half the squared error."""
    values, vectors = np.linalg.eigh(matrix @ matrix.T / 4)
    return np.maximum(values, 0), (vectors.T @ residual) ** 2 / 4


def descended(matrix, residual, lr, steps):
    """The loss after gradient descent, step by step in the parameters."""
    theta = np.zeros(3)
    for _ in range(steps):
        theta = theta - lr * matrix.T @ (matrix @ theta + residual) / 4
    return np.sum((matrix @ theta + residual) ** 2) / 8


def ends(lr, steps, rho):
    """As `budget_epsilon`, in NumPy."""
    return (1 - rho ** (1 / steps)) / lr, (1 + rho ** (1 / steps)) / lr


# --- Squared error -----------------------------------------------------------------------------


@COUNTS
def test_conditions_on_a_residual(count):
    tally = Tally()

    @tried(count, *PROBLEMS, st.sampled_from([0.1, 0.5, 0.9]))
    def holds(matrix, residual, budget, shrinkage, fraction):
        values, energies = spectrum_of(matrix, residual)
        (lr, steps), target = budget, fraction * np.sum(energies) / 2
        options = {"lr": lr, "steps": steps, "target": target, "shrinkage": shrinkage}
        found = theory.descent_conditions(values, energies, **options)
        truth = descended(matrix, residual, lr, steps)
        np.testing.assert_allclose(found.loss, truth, rtol=1e-7, atol=1e-12)
        assert found.reached == (found.loss <= target)
        if abs(truth - target) > 1e-9:
            assert found.possible or not found.reached
            assert found.reached or not found.certain
        tally.add(found.possible and np.any(residual), found.certain)
        if lr * values[-1] <= 2:
            # The loss is the integral over rho of rho times the energy outside of the range of rho.
            edges = np.unique([0.0, *np.abs(1 - lr * values) ** steps, 1.0])
            total = 0.0
            for low, high in zip(edges[:-1], edges[1:], strict=True):
                rho = min(max((low + high) / 2, 1e-300), 1 - 1e-12)
                smallest, largest = ends(lr, steps, rho)
                outside = (values < smallest) | (values > largest)
                total += np.sum(energies[outside]) * (high**2 - low**2) / 2
            np.testing.assert_allclose(total, found.loss, rtol=1e-6, atol=1e-9)

    tally.at_least(0.75, 0.1)


def test_energy_inside_the_range_may_not_be_left_out():
    @broken(*PROBLEMS)
    def holds(matrix, residual, budget, shrinkage):
        values, energies = spectrum_of(matrix, residual)
        lr, steps = budget
        low, high = ends(lr, steps, shrinkage)
        outside = np.sum(energies[(values < low) | (values > high)]) / 2
        assert descended(matrix, residual, lr, steps) <= outside + 1e-12


@COUNTS
def test_conditions_on_a_rank(count):
    tally = Tally()

    @tried(count, strategies.numbers(4, 3), BUDGETS, SHRINKAGES, st.sampled_from([0.1, 0.4, 0.8]))
    def holds(matrix, budget, shrinkage, fraction):
        values, vectors = np.linalg.eigh(matrix @ matrix.T / 4)
        values, (lr, steps) = np.maximum(values, 0), budget
        options = {"initial_loss": 0.5, "target": 0.5 * fraction, "shrinkage": shrinkage}
        found = theory.rank_conditions(values, lr=lr, steps=steps, **options)
        # Residuals with the loss 0.5 along each eigenvector are the extreme cases.
        losses = np.array([descended(matrix, 2 * v, lr, steps) for v in vectors.T])
        if np.abs(losses - 0.5 * fraction).min() > 1e-9:
            assert found.every == (losses.max() <= 0.5 * fraction)
            assert found.some == (losses.min() <= 0.5 * fraction)
        np.testing.assert_allclose(found.expected_loss, losses.mean(), rtol=1e-6, atol=1e-12)
        learnt = found.expected_loss <= 0.5 * fraction
        assert found.normalised_rank >= found.needed - 1e-12 or not learnt
        if lr * values[-1] <= 2:
            assert learnt or found.normalised_rank < found.enough + 1e-12
        tally.add(0 < found.normalised_rank < 1, found.every or found.some)

    tally.at_least(0.65, 0.8)


def test_the_examples_of_the_docstrings_have_these_values():
    found = theory.descent_conditions(
        np.array([0.0, 1.0]), np.array([0.02, 1.98]), lr=0.5, steps=10, target=0.1
    )
    np.testing.assert_allclose(found.loss, 0.01 + 0.99 / 2**20)
    assert (bool(found.possible), bool(found.certain), bool(found.reached)) == (True, False, True)
    options = {"lr": 0.5, "steps": 10, "initial_loss": 1.0, "target": 0.4}
    ranks = theory.rank_conditions(np.array([0.0, 1.0, 1.0]), **options)
    assert (bool(ranks.every), bool(ranks.some)) == (False, True)
    values = ranks.expected_loss, ranks.normalised_rank, ranks.needed, ranks.enough
    np.testing.assert_allclose(values, [1 / 3, 2 / 3, -0.6, 0.8], rtol=1e-5)
    labels, guess, logits = np.array([0, 1]), np.full((2, 2), 0.5), np.zeros((2, 2))
    floor = theory.cross_entropy_floor(0.1 * np.eye(4), logits, labels, guess, lr=1.0, steps=2)
    # |K (q - y)| = 0.1, and sqrt(2 / N) = 1.
    np.testing.assert_allclose(floor, np.log(2) - 0.2)
    towards = np.array([[2.0, -2.0], [-2.0, 2.0]])
    ceiling = theory.cross_entropy_ceiling(np.eye(4), logits, labels, towards, lr=1.0, steps=100)
    np.testing.assert_allclose(ceiling, np.log1p(np.exp(-4)) + 16 / 400)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: models.FrozenGates(3, 2, width=8, key=jax.random.key(0)),
        lambda: models.Linearised(mlp(3, 2, width=4, depth=1)),
    ],
    ids=["gates", "linearised"],
)
def test_training_a_linear_network_reaches_the_loss(make):
    """`FrozenGates` and `Linearised` keep their kernel, so the loss is exact for them."""
    rng = np.random.default_rng(0)
    inputs, targets = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.normal(size=(6, 2)))
    outputs_of = lambda m, x: jax.vmap(m)(x)[0]

    @eqx.filter_jit
    def train(model):
        risk = Risk(outputs_of, SquaredError(), inputs, targets)
        params, static = eqx.partition(model, eqx.is_inexact_array)
        loss = lambda p: risk(eqx.combine(p, static))
        step = lambda _, p: jax.tree.map(lambda a, g: a - 0.05 * g, p, jax.grad(loss)(p))
        jacobian = jax.jacrev(lambda p: outputs_of(eqx.combine(p, static), inputs).reshape(-1))
        flat = [j.reshape(12, -1) for j in jax.tree.leaves(jacobian(params))]
        residual = outputs_of(model, inputs) - targets
        return jnp.concatenate(flat, 1), residual, loss(jax.lax.fori_loop(0, 30, step, params))

    jacobian, residual, truth = map(np.asarray, train(make()))
    values, vectors = np.linalg.eigh(jacobian @ jacobian.T / 6)
    energies = (vectors.T @ residual.reshape(-1)) ** 2 / 6
    options = {"lr": 0.05, "steps": 30, "target": 1.0}
    found = theory.descent_conditions(np.maximum(values, 0), energies, **options)
    np.testing.assert_allclose(found.loss, truth, rtol=1e-9)
    assert truth < 0.9 * np.sum(energies) / 2


# --- Cross-entropy -----------------------------------------------------------------------------


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def cross_entropy_after(kernel, outputs, labels, lr, steps):
    z = outputs.copy()
    for _ in range(steps):
        slope = softmax(z) - np.eye(z.shape[1])[labels]
        z = z - lr * (kernel @ slope.reshape(-1)).reshape(z.shape)
    shifted = z - z.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(z)), labels]
    return np.mean(np.log(np.exp(shifted).sum(axis=1)) - right)


CLASSIFIED = (
    strategies.numbers(6, 5),
    strategies.numbers(3, 2),
    strategies.numbers(3, 2),
    strategies.numbers(6),
    strategies.labels(num_examples=3),
    BUDGETS,
)


@COUNTS
def test_bounds_on_the_cross_entropy(count):
    tally = Tally()

    @tried(count, *CLASSIFIED)
    def holds(matrix, outputs, wrong, direction, labels, budget):
        kernel, labels, (lr, steps) = matrix @ matrix.T / 3, np.asarray(labels), budget
        truth = cross_entropy_after(kernel, outputs, labels, lr, steps)
        bounds = functools.partial(
            theory.cross_entropy_floor, kernel, outputs, labels, lr=lr, steps=steps
        )
        floor = max(bounds(softmax(wrong)), bounds(softmax(outputs)))
        assert floor <= truth + 1e-9
        move = (kernel @ direction).reshape(3, 2)
        ceiling = theory.cross_entropy_ceiling(kernel, outputs, labels, move, lr=lr, steps=steps)
        still = theory.cross_entropy_ceiling(
            kernel, outputs, labels, np.zeros((3, 2)), lr=lr, steps=steps
        )
        stable = lr * np.linalg.eigvalsh(kernel)[-1] <= 2
        assert np.isfinite(still) == stable
        assert truth <= min(ceiling, still) + 1e-9
        tally.add(floor > 0 or np.isfinite(ceiling), floor > 0.2 * truth)

    tally.at_least(0.8, 0.5)


def test_a_floor_without_the_length_of_the_gradients_is_wrong():
    @broken(*CLASSIFIED)
    def holds(matrix, outputs, wrong, direction, labels, budget):
        kernel, labels, (lr, steps) = matrix @ matrix.T / 3, np.asarray(labels), budget
        q = softmax(wrong)
        floor = theory.cross_entropy_floor(1e-9 * kernel, outputs, labels, q, lr=lr, steps=steps)
        assert floor <= cross_entropy_after(kernel, outputs, labels, lr, steps) + 1e-9


def linear_outputs(params, inputs):
    return inputs @ params


@pytest.mark.slow
def test_conditions_on_a_classifier():
    """Labels that differ only in a direction with a small eigenvalue cannot be learned in time."""
    scales = np.array([2.0, 2.0, 0.05, 0.05])
    inputs, labels = jnp.asarray(np.diag(scales)), jnp.asarray([0, 1, 0, 1])
    risk = Risk(linear_outputs, SoftmaxCrossEntropy(), inputs, labels)
    params, kernel = jnp.zeros((4, 2)), np.kron(np.diag(scales**2 / 4), np.eye(2))
    for steps, target, expected in ((20, 0.2, (False, False)), (20, 0.5, (True, True))):
        found = theory.cross_entropy_conditions(risk, params, lr=1.0, steps=steps, target=target)
        truth = cross_entropy_after(kernel, np.zeros((4, 2)), np.asarray(labels), 1.0, steps)
        assert found.floor <= truth <= found.ceiling
        assert (bool(found.possible), bool(found.certain)) == expected
        np.testing.assert_allclose(found.epsilon, target / 40)
        assert found.directions == 4
    squares = Risk(linear_outputs, SquaredError(), inputs, jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match="`risk` has the loss SquaredError .*descent_conditions"):
        theory.cross_entropy_conditions(squares, params, lr=1.0, steps=1, target=0.1)


# --- Permuted inputs ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_kernel_of_permuted_inputs():
    inputs, order = np.random.default_rng(0).normal(size=(4, 3)), np.array([2, 0, 1])
    gates = models.FrozenGates(3, 2, width=4, key=jax.random.key(0))
    for model in (mlp(3, 2, width=3, depth=1), gates):
        assert theory.permuted_kernel_gap(model, inputs, order) < 1e-13
    run = eqx.filter_jit(lambda m, x: jax.vmap(m)(x)[0])
    found = run(theory.unpermuted(gates, order), jnp.asarray(inputs))
    np.testing.assert_allclose(found, run(gates, jnp.asarray(inputs[:, order])), rtol=1e-12)
    assert not np.allclose(found, run(gates, jnp.asarray(inputs)))


def test_the_network_of_permuted_inputs():
    model, order = mlp(3, 2, width=3, depth=1), np.array([2, 0, 1])
    other = theory.unpermuted(model, order)
    # W P^T: each column reads the entry of the original input that it read of the permuted one.
    x, weight = np.array([1.0, 2.0, 3.0]), np.asarray(model.layers[0].weight)
    np.testing.assert_allclose(other.layers[0].weight @ x, weight @ x[order])
    np.testing.assert_array_equal(other.layers[1].weight, model.layers[1].weight)
    with pytest.raises(ValueError, match="`permutation` is .* each of the indices from 0 to 2"):
        theory.unpermuted(model, np.array([0, 0, 1]))
    sparse = eqx.filter_eval_shape(
        lambda key: models.MLP(3, 2, width=3, depth=1, density=0.5, key=key), jax.random.key(0)
    )
    with pytest.raises(ValueError, match="sparse first layer"):
        theory.unpermuted(sparse, order)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: theory.descent_conditions(v, v[:1], lr=0.1, steps=2, target=0.1), "its own"),
        (lambda v: theory.descent_conditions(-v, v, lr=0.1, steps=2, target=0.1), "`eigenvalues`"),
        (
            lambda v: theory.rank_conditions(v, lr=0.1, steps=2, initial_loss=0.1, target=0.1),
            "`target` is 0.1, but must be below the `initial_loss` of 0.1",
        ),
        (
            lambda v: theory.rank_conditions(v[:0], lr=0.1, steps=2, initial_loss=1.0, target=0.1),
            "`eigenvalues` is empty",
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones(2))
