"""Theorem B.3, Corollary B.4, the Kronecker statements, and the Gram matrix."""

import tracemalloc
from typing import Any

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from theory_networks import hessian, network, outputs_of, squared_error, with_weights
from theory_profile import broken, COUNTS, counts_of, Tally, tried

from spectral import theory
from spectral.curvature import (
    epsilon_rank,
    GaussNewton,
    Gram,
    GramEigh,
    KFAC,
    Risk,
    SoftmaxCrossEntropy,
    SquaredError,
)
from spectral.models import feature_effective_rank, MLP
from spectral.theory import strategies


pytestmark = pytest.mark.usefixtures("float64")
DEEP: dict[str, Any] = {"in_size": 2, "width": 3, "depth": 2, "out_size": 2}
KEY = jax.random.key(0)


@eqx.filter_jit
def derivatives(model, inputs):
    """Outputs, and the Jacobian and the Hessian of each output in the parameters."""
    params, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)
    outputs = lambda p: outputs_of(eqx.combine(unravel(p), static), inputs)
    return outputs(flat), jax.jacrev(outputs)(flat), jax.hessian(outputs)(flat)


def pieces(model, inputs):
    return [np.asarray(x) for x in derivatives(model, jnp.asarray(inputs))]


def residual_of(gradients, hessians):
    """The mean over examples of the sum over outputs of dl/dz times the Hessian of z."""
    return np.einsum("no,nopq->pq", gradients, hessians) / len(gradients)


def norms_of(hessians):
    return np.abs(np.linalg.eigvalsh(hessians)).max(axis=-1)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def gradients_of(outputs, targets):
    if targets.ndim == 2:
        return outputs - targets
    return softmax(outputs) - np.eye(outputs.shape[1])[targets]


LOSSES = {
    "squared": (strategies.targets(), 1.0, lambda new, old: np.linalg.norm(new - old, axis=1)),
    "softmax": (strategies.labels(), 0.5, lambda new, old: 2**0.5 * (new != old)),
}


@st.composite
def relabelled(draw, targets):
    """The targets of two tasks, sometimes the same."""
    first = draw(targets)
    return first, first if draw(st.booleans()) else draw(targets)


@pytest.mark.parametrize(("loss", "count"), counts_of("softmax", "squared"))
def test_the_residual_is_bounded_when_inputs_and_labels_change(loss, count):
    """Theorem B.3 with its label term. Without that term and the limit it is the printed bound."""
    targets, lipschitz, change = LOSSES[loss]
    tally = Tally()

    @tried(count, strategies.relu_networks(**DEEP), strategies.task_shifts(), relabelled(targets))
    def holds(model, shift, labels):
        old, new = np.asarray(shift.old), np.asarray(shift.new)
        old_labels, new_labels = (np.asarray(y) for y in labels)
        old_outputs = pieces(model, old)[0]
        outputs, _, hessians = pieces(model, new)
        gamma = norms_of(hessians).max()
        norm = np.linalg.norm(residual_of(gradients_of(outputs, new_labels), hessians), 2)
        gradient = np.linalg.norm(gradients_of(old_outputs, old_labels), axis=1).max()
        weights = [np.linalg.norm(layer.weight, 2) for layer in model.layers]
        nearest = np.linalg.norm(new[:, None] - old[None], axis=2).argmin(axis=1)
        options = {
            "shift": theory.directed_hausdorff(new, old),
            "network_lipschitz": float(np.prod(weights)),
            "gradient_lipschitz": lipschitz,
        }
        moved = float(change(new_labels, old_labels[nearest]).max())
        limit = 2**0.5 if loss == "softmax" else np.inf
        bound = theory.residual_bound(
            2, gamma, gradient, label_change=moved, limit=limit, **options
        )
        assert norm <= bound * (1 + 1e-12)
        printed = theory.as_printed.residual_bound(2, gamma, gradient, **options)
        if moved == 0 and limit == np.inf:
            assert printed == bound
        tally.add(norm > 1e-9, tight=bound <= 20 * norm)

    tally.at_least(applies=0.65, tight=0.5)


def product(weights, inputs):
    return weights[0] * weights[1] * inputs


def test_theorem_b3_as_printed_is_false_where_labels_change():
    """An input that is fitted exactly gets another label."""
    # A network of one hidden unit, which is alive.
    weights = jnp.asarray(np.ones(2))
    inputs, new = jnp.asarray(np.ones((1, 1))), jnp.asarray(np.zeros((1, 1)))
    assert product(weights, inputs) == 1
    risk = Risk(product, SquaredError(), inputs, new)
    norm = theory.residual_norm(risk, weights, key=KEY, order=2)
    np.testing.assert_allclose(norm.value, 1.0, rtol=1e-12)
    assert norm.residual < 1e-12
    gamma = 1.0  # the Hessian of the output is [[0, 1], [1, 0]]
    options = {"shift": 0.0, "network_lipschitz": 1.0, "gradient_lipschitz": 1.0}
    assert theory.as_printed.residual_bound(1, gamma, 0.0, **options) == 0
    # The bound with the label term is attained.
    bound = theory.residual_bound(1, gamma, 0.0, label_change=1.0, **options)
    np.testing.assert_allclose(bound, norm.value, rtol=1e-12)


def test_theorem_b3_is_attained():
    """Two outputs that are large multiples of one hidden unit, with equal gradients."""
    zero = [(np.zeros((n, m)), -np.ones(n)) for n, m in ((3, 2), (3, 3), (2, 3))]
    for weight, bias in zero:
        weight[0, 0], bias[0] = 1, 0
    zero[2][0][:, 0], zero[2][1][:] = 1000, 0
    outputs, _, hessians = pieces(with_weights(network(MLP, **DEEP), zero), np.ones((5, 2)))
    gamma = norms_of(hessians).max()
    norm = np.linalg.norm(residual_of(np.ones_like(outputs), hessians), 2)
    options = {"shift": 0.0, "network_lipschitz": 1.0, "gradient_lipschitz": 1.0}
    bound = theory.residual_bound(2, gamma, 2**0.5, label_change=0.0, **options)
    assert 0.99 * bound < norm <= bound * (1 + 1e-12)
    given = {"shift": 0.5, "network_lipschitz": 2.0, "gradient_lipschitz": 3.0}
    assert theory.residual_bound(4, 2.0, 1.0, label_change=0.5, **given) == 2 * 2 * 4.5
    assert theory.residual_bound(4, 2.0, 1.0, label_change=0.5, limit=3.0, **given) == 12


@COUNTS
def test_curvature_of_the_outputs_of_two_layers(count):
    """Gamma in closed form. The eigenvalues of R sum to 0."""
    tally, sharp = Tally(), Tally()

    @tried(count, strategies.relu_networks(), strategies.inputs(), strategies.targets())
    def holds(model, inputs, targets):
        outputs, jacobian, hessians = pieces(model, inputs)
        norms = norms_of(hessians)
        gamma = theory.two_layer_curvature(float(np.linalg.norm(inputs, axis=1).max()))
        assert norms.max() <= gamma * (1 + 1e-12)
        residual = residual_of(outputs - np.asarray(targets), hessians)
        ggn = np.einsum("nop,noq->pq", jacobian, jacobian) / len(jacobian)
        whole = np.asarray(hessian(model, inputs, targets, squared_error))
        np.testing.assert_allclose(ggn + residual, whole, atol=1e-10)
        assert abs(np.trace(residual)) <= 1e-12
        # R in closed form, and its norm without the square root of the number of outputs.
        gradients = jnp.asarray(outputs - np.asarray(targets))
        sigma = theory.two_layer_residual(model, inputs, gradients)
        both = np.concatenate([sigma, -sigma], axis=None)
        expected = np.sort(np.pad(both, (0, len(residual) - both.size)))
        np.testing.assert_allclose(np.linalg.eigvalsh(residual), expected, atol=1e-10)
        none = dict.fromkeys(
            ("shift", "network_lipschitz", "gradient_lipschitz", "label_change"), 0
        )
        largest = float(np.linalg.norm(gradients, axis=1).max())
        bound = theory.residual_bound(1, gamma, largest, **none)
        assert sigma.max() <= bound * (1 + 1e-12)
        sharp.add(largest > 0, tight=bound >= sigma.max() > 0.3 * bound)
        tally.add(norms.max() > 0, tight=norms.max() >= 0.999 * gamma)

    tally.at_least(applies=0.8, tight=0.7)
    sharp.at_least(applies=0.8, tight=0.2)


def test_the_closed_form_of_the_residual_needs_one_hidden_layer():
    with pytest.raises(ValueError, match="of one hidden layer, but `model` has 2: use `residual_n"):
        theory.two_layer_residual(network(MLP, **DEEP), jnp.ones((3, 2)), jnp.ones((3, 2)))


def test_measured_curvature_of_outputs():
    """The maximum over examples and outputs, attained by output 1 of example 2."""
    risk = Risk(quadratic, SquaredError(), jnp.asarray([[1.0], [2.0], [5.0]]), jnp.zeros((3, 2)))
    gamma = theory.output_curvature(risk, jnp.asarray([1.0, 1.0]), key=KEY, order=2)
    np.testing.assert_allclose(gamma, 20, rtol=1e-12)


def quadratic(params, inputs):
    """Two outputs for each x: x (a^2 - b^2) / 2 and x (a^2 - 4 b^2) / 2."""
    a, b = params**2
    return inputs * jnp.stack([a - b, a - 4 * b])[None] / 2


@pytest.mark.slow
def test_measured_curvature_and_residual_of_a_network():
    model = network(MLP, **DEEP, seed=3)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))
    labels = jnp.asarray([0, 1, 1, 0, 1])
    risk = Risk(outputs_of, SoftmaxCrossEntropy(), inputs, labels)
    outputs, _, hessians = pieces(model, inputs)
    gamma = theory.output_curvature(risk, model, key=KEY, order=29)
    np.testing.assert_allclose(gamma, norms_of(hessians).max(), rtol=1e-9)
    exact = np.linalg.norm(residual_of(gradients_of(outputs, np.asarray(labels)), hessians), 2)
    assert exact > 1
    found = theory.residual_norm(risk, model, key=KEY, order=29)
    np.testing.assert_allclose(found.value, exact, rtol=1e-9)
    assert found.residual < 1e-9


def rotated(matrix, other, seed):
    """Both matrices in one random basis."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=matrix.shape))
    return q @ matrix @ q.T, q @ other @ q.T


def eigenvalues(matrix):
    return np.linalg.eigvalsh(matrix)[::-1]


SPECTRA = (strategies.covariances(size=4, num_samples=3), strategies.symmetric_matrices(size=4))


@COUNTS
def test_eigenvalues_index_by_index(count):
    """The correct part of Corollary B.4, and the smallest penalty that it requires."""
    tally = Tally()

    @tried(count, *SPECTRA, st.integers(0, 8), st.integers(1, 4))
    def holds(ggn, residual, eighths, index):
        ggn, residual = rotated(ggn, residual, eighths)
        norm = np.linalg.norm(residual, 2)
        whole = ggn + residual + eighths / 8 * np.eye(4)
        floor = theory.eigenvalue_floor(eigenvalues(ggn), norm, weight_decay=eighths / 8)
        slack = eigenvalues(whole) - floor
        assert slack.min() >= -1e-10
        rank = int(np.sum(eigenvalues(ggn) > 1e-9))
        if rank:  # (38) and (39), with this index
            positive = np.where(eigenvalues(ggn) > 1e-9, eigenvalues(ggn), 0)
            options = {"weight_decay": eighths / 8}
            smallest = theory.as_printed.smallest_positive_floor(positive, norm, **options)
            assert eigenvalues(whole)[rank - 1] >= smallest - 1e-10
        # From both spectra: between the floor and the truth, and attained by diagonal matrices.
        values, lowest = eigenvalues(ggn), floor - eighths / 8
        low, high = theory.weyl(values, eigenvalues(residual))
        found = eigenvalues(ggn + residual)
        assert (lowest <= low + 1e-10).all()
        assert ((low <= found + 1e-10) & (found <= high + 1e-10)).all()
        paired = eigenvalues(residual)[[*range(index)[::-1], *range(index, 4)]]
        np.testing.assert_allclose(np.sort(values + paired)[::-1][index - 1], high[index - 1])
        enough = theory.sufficient_weight_decay(eigenvalues(ggn), norm, index=index) + 1e-6
        assert eigenvalues(ggn + residual + enough * np.eye(4))[index - 1] > 0
        tally.add(floor[0] > 0, tight=slack.min() <= 0.5 * norm)

    tally.at_least(applies=0.9, tight=0.3)


@pytest.mark.parametrize("wrong", ["(35)", "(38)"])
def test_wrong_forms_of_the_corollary_are_detected(wrong):
    @broken(*SPECTRA)
    def holds(ggn, residual):
        norm = np.linalg.norm(residual, 2)
        found = eigenvalues(ggn + residual)
        if wrong == "(35)":
            low, high = theory.as_printed.weyl(eigenvalues(ggn), eigenvalues(residual))
            assert ((low <= found + 1e-9) & (found <= high + 1e-9)).all()
        elif (eigenvalues(ggn) > 1e-9).any() and (found > 1e-9).any():
            positive = np.where(eigenvalues(ggn) > 1e-9, eigenvalues(ggn), 0)
            smallest = theory.as_printed.smallest_positive_floor(positive, norm)
            assert found[found > 1e-9].min() >= smallest - 1e-9


@jax.jit
def one_relu(weights):
    """Output and Jacobian of v relu(w x) at x = 1, and the Hessian of half the squared error for
    the target 1.01."""
    output = lambda p: p[0] * jax.nn.relu(p[1])
    loss = lambda p: (output(p) - 1.01) ** 2 / 2
    return output(weights), jax.jacrev(output)(weights), jax.hessian(loss)(weights)


def test_corollary_b4_as_printed_is_false():
    """A network of one ReLU that is nearly fitted: the smallest positive eigenvalue is that of the
    residual. The eigenvalue with the index rank(G) obeys the bound."""
    output, jacobian, whole = (np.asarray(x) for x in one_relu(jnp.asarray(np.ones(2))))
    assert output == 1
    ggn = np.outer(jacobian, jacobian)
    norm = np.linalg.norm(whole - ggn, 2)
    np.testing.assert_allclose(eigenvalues(ggn), [2, 0], atol=1e-12)
    np.testing.assert_allclose([*eigenvalues(whole), norm], [1.99, 0.01, 0.01], atol=1e-12)
    for decay in (0.0, 0.1):  # the second is the penalty that (39) asks for
        positive = np.array([2.0, 0.0])
        smallest = theory.as_printed.smallest_positive_floor(positive, norm, weight_decay=decay)
        assert smallest == pytest.approx(1.99 + decay)
        found = eigenvalues(whole + decay * np.eye(2))
        assert 0 < found[1] < smallest
        assert found[0] >= smallest - 1e-12
    low, high = theory.as_printed.weyl(positive, np.zeros(2))
    assert (low == 0).all()
    assert (high == 0).all()


def test_values_of_corollary_b4():
    values = np.array([1.0, 3.0, 0.0])
    floor = theory.eigenvalue_floor(values, 0.5, weight_decay=0.1)
    np.testing.assert_allclose(floor, [2.6, 0.6, -0.4])
    assert theory.sufficient_weight_decay(values, 0.5, index=3) == 0.5
    assert theory.sufficient_weight_decay(values, 0.5, index=1) == 0
    low, high = theory.weyl(values, np.array([1.0, 0.0, -1.0]))
    assert low.tolist() == [2, 0, -1]
    assert high.tolist() == [4, 2, 1]
    low, high = theory.as_printed.weyl(values, np.array([-2.0, 1.0, 0.0]))
    assert low.tolist() == [-1, -2, -4]
    assert high.tolist() == [3, 2, 0]


@COUNTS
def test_ranks_of_kronecker_products(count):
    tally = Tally()
    covariances = strategies.covariances

    @tried(
        count,
        covariances(size=3, num_samples=2),
        covariances(size=2, num_samples=1),
        covariances(size=3, num_samples=1),
        st.integers(1, 40),
    )
    def holds(a, b, more, eighths):
        epsilon = eighths / 8 + 1e-6
        found = theory.kronecker_epsilon_rank(a, b, epsilon)
        values = np.linalg.eigvalsh(np.kron(b, a))
        assert found == np.sum(np.abs(values) > epsilon)
        rank = np.linalg.matrix_rank
        assert rank(np.kron(b, a)) == rank(a) * rank(b)
        # Monotone in the order of positive semi-definite matrices.
        assert theory.kronecker_epsilon_rank(a + more, b, epsilon) >= found
        tally.add(found > 0, tight=found < rank(a) * rank(b))

    tally.at_least(applies=0.8, tight=0.1)


def test_a_kronecker_product_of_indefinite_matrices():
    """Negative products count by their magnitude."""
    assert theory.kronecker_epsilon_rank(np.diag([2.0, -1.0]), np.diag([-3.0, 0.1]), 0.2) == 2


def test_the_rank_of_a_block_does_not_increase_with_those_of_the_covariances():
    def ranks(x, g):
        rows = np.einsum("ni,nk->nik", x, g).reshape(len(x), -1)
        return tuple(np.linalg.matrix_rank(m) for m in (x.T @ x, g.T @ g, rows.T @ rows))

    e = np.eye(3)
    assert ranks(e[[0, 0, 1, 1]], e[[0, 1, 0, 1]]) == (2, 2, 4)
    assert ranks(e[[0, 1, 2]], e[[0, 1, 1]]) == (3, 2, 3)


def centred(inputs, gradients):
    """Samples with E[g | x] = 0: each gradient with both signs."""
    both = np.concatenate([inputs, inputs]), np.concatenate([gradients, -gradients])
    return jnp.asarray(both[0]), jnp.asarray(both[1])


def test_kronecker_factors_of_a_network():
    """The condition of section 7 is not sufficient: the sum is at least the rank of the
    Gauss-Newton matrix, and here twice as large. And the error of `KFAC` for the last layer is that
    of equation (6), from the columns of the output factor."""
    model = network(MLP, 6, 4, width=8, depth=1)
    inputs = np.random.default_rng(1).normal(size=(3, 6))
    risk = Risk(outputs_of, SoftmaxCrossEntropy(), jnp.asarray(inputs), jnp.asarray([0, 3, 1]))

    @eqx.filter_jit
    def ggn_rank(risk, model):
        spectrum = GramEigh()(GaussNewton(risk, model), key=KEY)
        return epsilon_rank(spectrum, 1e-9, relative=True).value

    rank = float(ggn_rank(risk, model))
    assert theory.gram_rank_bound(risk, model) == round(rank) == 9
    factors = eqx.filter_jit(lambda risk, model: KFAC(risk, model).blocks)(risk, model)
    blocks = [(np.asarray(block.inputs), np.asarray(block.outputs)) for block in factors]
    ranks = [np.linalg.matrix_rank(m) for block in blocks for m in block]
    assert theory.kronecker_rank_bound(risk, model) == ranks[0] * ranks[1] + ranks[2] * ranks[3]
    # Section 7 is right for the KFAC matrix itself.
    of_kfac = [np.linalg.matrix_rank(np.kron(a, b)) for a, b in blocks]
    assert theory.kronecker_rank_bound(risk, model) == sum(of_kfac)
    assert theory.kronecker_rank_bound(risk, model) >= 2 * rank

    (w0, b0), (w1, b1) = ((np.asarray(m.weight), np.asarray(m.bias)) for m in model.layers)
    features = np.maximum(inputs @ w0.T + b0, 0)
    p = softmax(features @ w1.T + b1)
    # A root of the Hessian of the loss in the outputs: H_ij = p_i (1[i = j] - p_j).
    columns = np.sqrt(p)[:, :, None] * (np.eye(4)[None] - p[:, None, :])
    columns = columns.transpose(1, 0, 2)  # [columns, examples, outputs]
    features = np.concatenate([features, np.ones((3, 1))], axis=1)
    x, g = np.tile(features, (4, 1)), columns.reshape(12, 4) * 4**0.5
    error = theory.cumulant_error(*centred(x, g))
    exact = np.einsum("kno,knp,ni,nj->ijop", columns, columns, features, features) / 3
    factored = np.einsum("ij,op->ijop", *blocks[-1])
    np.testing.assert_allclose(error, exact - factored, atol=1e-12)


def uncorrelated(inputs, gradients):
    """The samples with the part of the gradients that is orthogonal to a constant and the inputs,
    as at a stationary point of a layer with a bias. E[g | x] is not 0."""
    x, g = np.asarray(inputs), np.asarray(gradients)
    q, _ = np.linalg.qr(np.concatenate([np.ones((len(x), 1)), x], axis=1))
    rest = g - q @ (q.T @ g)
    return jnp.asarray(x), jnp.asarray(np.where(np.abs(rest) > 1e-12, rest, 0))


@COUNTS
def test_the_error_of_a_kronecker_factorisation_in_cumulants(count):
    """Equation (6) with a plus sign in both places, for gradients that are uncorrelated with the
    inputs."""
    tally = Tally()

    @tried(count, strategies.inputs(num_examples=8), strategies.inputs(num_examples=8))
    def holds(x, g):
        inputs, gradients = uncorrelated(x, g)
        error = np.asarray(theory.factorisation_error(inputs, gradients))
        found = theory.cumulant_error(inputs, gradients)
        np.testing.assert_allclose(found, error, atol=1e-12)
        kron = np.einsum("ijkl->ikjl", error).reshape(4, 4)
        x, g = np.asarray(inputs), np.asarray(gradients)
        rows = np.einsum("ni,nk->nik", x, g).reshape(8, 4)
        expected = rows.T @ rows / 8 - np.kron(x.T @ x / 8, g.T @ g / 8)
        np.testing.assert_allclose(kron, expected, atol=1e-12)
        tally.add(np.abs(error).max() > 1e-6)

    tally.at_least(applies=0.6)


def test_equation_6_as_printed_is_false():
    """Two inputs of one dimension: the error is 1, and the printed formula gives 0."""
    inputs, gradients = centred(np.array([[2.0, 0], [0, 0]]), np.array([[1.0, 0], [0, 0]]))
    rest = np.zeros((2, 2, 2, 2))
    error = rest.copy()
    error[0, 0, 0, 0] = 1
    np.testing.assert_allclose(theory.factorisation_error(inputs, gradients), error, atol=1e-15)
    np.testing.assert_allclose(theory.cumulant_error(inputs, gradients), error, atol=1e-15)
    printed = theory.as_printed.cumulant_error(inputs, gradients)
    np.testing.assert_allclose(printed, rest, atol=1e-15)

    @broken(strategies.inputs(num_examples=4), strategies.inputs(num_examples=4))
    def holds(x, g):
        printed = theory.as_printed.cumulant_error(*centred(x, g))
        np.testing.assert_allclose(printed, theory.factorisation_error(*centred(x, g)), atol=1e-9)


def test_equation_6_rejects_gradients_that_are_correlated_with_the_inputs():
    cases = {r"E\[g\] = 0": [[1.0], [1.0]], r"Cov\(x, g\) = 0": [[1.0], [-1.0]]}
    for form in (theory.cumulant_error, theory.as_printed.cumulant_error):
        for hypothesis, g in cases.items():
            with pytest.raises(
                ValueError, match=f"Equation \\(6\\) has the hypothesis {hypothesis}"
            ):
                form(jnp.asarray([[1.0], [0.0]]), jnp.asarray(g))


def test_the_hypothesis_of_equation_6_is_checked_in_little_memory():
    """A matrix of samples by samples takes 0.8 GB here."""
    x, g = (np.random.default_rng(seed).normal(size=(10_000, 1)) for seed in (0, 1))
    inputs, gradients = uncorrelated(x, g)
    error = theory.factorisation_error(inputs, gradients)
    tracemalloc.start()
    found = theory.cumulant_error(inputs, gradients)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, error, rtol=1e-9)
    assert most < 1e7


@jax.jit
def effective_ranks(features):
    return theory.covariance_effective_rank(features), feature_effective_rank(features)


@COUNTS
def test_effective_rank_of_features_and_of_their_covariance(count):
    tally = Tally()

    @tried(count, strategies.inputs(num_examples=4, in_size=3))
    def holds(features):
        of_covariance, of_features = map(float, effective_ranks(features))
        values = np.linalg.eigvalsh(features.T @ features)
        p = values[values > 1e-12 * max(values[-1], 1e-300)]
        expected = np.exp(-np.sum(p / p.sum() * np.log(p / p.sum()))) if p.size else 0
        np.testing.assert_allclose(of_covariance, expected, atol=1e-8)
        assert of_covariance <= of_features + 1e-9
        tally.add(of_features > 1 + 1e-6, tight=of_covariance < of_features - 1e-3)

    tally.at_least(applies=0.8, tight=0.9)
    # They agree if all singular values are equal, also where the squares overflow or underflow.
    for size in (1.0, 1e-200, 1e200):
        np.testing.assert_allclose(effective_ranks(jnp.asarray(size * np.eye(4, 3))), 3)
    assert effective_ranks(jnp.asarray(np.zeros((4, 3))))[0] == 0


@pytest.mark.parametrize(("loss", "count"), counts_of("softmax", "squared"))
def test_the_gram_matrix_has_the_eigenvalues_of_the_gauss_newton_matrix(loss, count):
    """The sorted eigenvalues agree, and so does every eps-rank. The Gauss-Newton matrix comes from
    Jacobians here, and the Gram matrix from the operator."""
    squared = loss == "squared"
    of_outputs = SquaredError(scale=0.7) if squared else SoftmaxCrossEntropy()
    targets = strategies.targets() if squared else strategies.labels()
    tally = Tally()

    @eqx.filter_jit
    def gram(model, inputs, targets):
        return Gram(Risk(outputs_of, of_outputs, inputs, targets), model).dense()

    @tried(count, strategies.relu_networks(**DEEP), strategies.inputs(), targets)
    def holds(model, inputs, targets):
        outputs, jacobian, _ = pieces(model, inputs)
        p = softmax(outputs)
        inner = np.einsum("no,op->nop", p, np.eye(2)) - np.einsum("no,np->nop", p, p)
        inner = np.broadcast_to(1.4 * np.eye(2), inner.shape) if squared else inner
        ggn = np.einsum("nop,nor,nrq->pq", jacobian, inner, jacobian) / len(inputs)
        of_ggn = eigenvalues(ggn)
        of_gram = np.pad(eigenvalues(np.asarray(gram(model, inputs, targets))), (0, 19))[:29]
        np.testing.assert_allclose(of_gram, of_ggn, atol=1e-10 * max(of_ggn[0], 1))
        most = len(inputs) * (2 if squared else 1)
        assert np.sum(of_ggn > 1e-10 * max(of_ggn[0], 1)) <= most
        tally.add(of_ggn[0] > 1e-6)

    tally.at_least(applies=0.9)


def linear(params, inputs):
    return inputs @ params


def test_equivalence_gap_and_rank_bound():
    params = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3)))
    inputs = jnp.asarray(1e4 * np.random.default_rng(3).normal(size=(2, 2)))
    squared = Risk(linear, SquaredError(), inputs, jnp.asarray(np.zeros((2, 3))))
    labelled = Risk(linear, SoftmaxCrossEntropy(), inputs, jnp.asarray([0, 1]))
    assert theory.gram_rank_bound(squared, params) == 6
    assert theory.gram_rank_bound(labelled, params) == 4
    assert theory.equivalence_gap(labelled, params) < 1e-12
    # Two matrices of zeros agree.
    zero = Risk(linear, SoftmaxCrossEntropy(), jnp.asarray(np.zeros((2, 2))), labelled.targets)
    assert theory.equivalence_gap(zero, params) == 0
    many = Risk(linear, SquaredError(), jnp.ones((30, 2)), jnp.zeros((30, 3)))
    assert theory.gram_rank_bound(many, params) == 6


def test_bad_arguments():
    good = {"shift": 0, "network_lipschitz": 1, "gradient_lipschitz": 1, "label_change": 0}
    with pytest.raises(ValueError, match="`curvature` is -1"):
        theory.residual_bound(2, -1, 1, **good)
    for name in good:
        with pytest.raises(ValueError, match=f"`{name}` is -1"):
            theory.residual_bound(2, 1, 1, **good | {name: -1})
    with pytest.raises(ValueError, match="`limit` is nan, but must be at least 0"):
        theory.residual_bound(2, 1, 1, **good, limit=np.nan)
    del good["label_change"]
    with pytest.raises(ValueError, match="`num_outputs` is 0"):
        theory.as_printed.residual_bound(0, 1, 1, **good)
    with pytest.raises(ValueError, match="`radius` is -1"):
        theory.two_layer_curvature(-1)
    assert theory.two_layer_curvature(1e200) == 1e200  # its square overflows
    ones = np.ones(3)
    with pytest.raises(ValueError, match="`residual_norm` is -1"):
        theory.eigenvalue_floor(ones, -1.0)
    with pytest.raises(ValueError, match="`weight_decay` is -1"):
        theory.eigenvalue_floor(ones, 1.0, weight_decay=-1.0)
    for bad in (np.zeros(0), np.array([np.nan])):
        with pytest.raises(ValueError, match=r"`eigenvalues` is of shape .* or not finite"):
            theory.eigenvalue_floor(bad, 1.0)
    for index in (0, 4):
        with pytest.raises(ValueError, match=f"`index` is {index}, but there are 3"):
            theory.sufficient_weight_decay(ones, 1.0, index=index)
    for form in (theory.weyl, theory.as_printed.weyl):
        with pytest.raises(ValueError, match="3 `eigenvalues` and 2 `residual_eigenvalues`"):
            form(ones, ones[:2])
    with pytest.raises(ValueError, match="None of the `eigenvalues` is positive"):
        theory.as_printed.smallest_positive_floor(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="`epsilon` is 0"):
        theory.kronecker_epsilon_rank(np.eye(2), np.eye(2), 0)
    with pytest.raises(ValueError, match="`gradients` is of shape"):
        theory.kronecker_epsilon_rank(np.eye(2), np.ones((2, 3)), 0.1)
    with pytest.raises(ValueError, match="or not symmetric"):
        theory.kronecker_epsilon_rank(np.array([[0.0, 1.0], [0.0, 0.0]]), np.eye(2), 0.1)
    risk = Risk(two_outputs, two_losses, jnp.ones((3, 2)), jnp.zeros(3))
    with pytest.raises(ValueError, match="Theorem B.3 has the hypothesis of one array of outputs"):
        theory.output_curvature(risk, jnp.ones(2), key=KEY)


def two_outputs(params, inputs):
    return inputs @ params, inputs @ params


def two_losses(outputs, targets):
    return (outputs[0] - outputs[1] - targets) ** 2
