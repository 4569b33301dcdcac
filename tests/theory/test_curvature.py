"""Theorem B.3, Corollary B.4, the Kronecker statements, and the Gram matrix."""

from typing import Any

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from theory_networks import hessian, outputs_of, squared_error, with_weights
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


@eqx.filter_jit
def pieces(model, inputs):
    """Outputs, and of each output its Jacobian and its Hessian in the parameters."""
    params, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)
    outputs = lambda p: outputs_of(eqx.combine(unravel(p), static), inputs)
    return outputs(flat), jax.jacrev(outputs)(flat), jax.hessian(outputs)(flat)


def residual_of(gradients, hessians):
    """The mean over examples of the sum over outputs of dl/dz times the Hessian of z."""
    return np.einsum("no,nopq->pq", gradients, hessians) / len(gradients)


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
    """The targets of two tasks, alike in some cases."""
    first = draw(targets)
    return first, first if draw(st.booleans()) else draw(targets)


@pytest.mark.parametrize(("loss", "count"), counts_of("softmax", "squared"))
def test_the_residual_is_bounded_when_inputs_and_labels_change(loss, count):
    """Theorem B.3 with its label term, and that its equal parts are what they are said to be."""
    targets, lipschitz, change = LOSSES[loss]
    tally = Tally()

    @tried(
        count,
        strategies.relu_networks(**DEEP),
        strategies.task_shifts(),
        relabelled(targets),
    )
    def holds(model, shift, labels):
        old_labels, new_labels = (np.asarray(y) for y in labels)
        old_outputs = np.asarray(outputs_of(model, shift.old))
        outputs, _, hessians = (np.asarray(x) for x in pieces(model, shift.new))
        gamma = np.linalg.norm(hessians, 2, axis=(2, 3)).max()
        norm = np.linalg.norm(residual_of(gradients_of(outputs, new_labels), hessians), 2)
        gradient = np.linalg.norm(gradients_of(old_outputs, old_labels), axis=1).max()
        weights = [np.linalg.norm(layer.weight, 2) for layer in model.layers]
        # Which old example a new one stands for: the nearest.
        pairs = np.linalg.norm(shift.new[:, None] - shift.old[None], axis=2).argmin(axis=1)
        options = {
            "shift": theory.directed_hausdorff(shift.new, shift.old),
            "network_lipschitz": float(np.prod(weights)),
            "gradient_lipschitz": lipschitz,
        }
        moved = float(change(new_labels, old_labels[pairs]).max())
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


def test_theorem_b3_as_printed_is_false_where_labels_change():
    """One input that is fitted exactly, then another label for it."""
    model = MLP(1, 1, width=1, depth=1, key=jax.random.key(0))
    model = with_weights(model, [(jnp.ones((1, 1)), jnp.zeros(1))] * 2)
    inputs, new = jnp.ones((1, 1)), jnp.zeros((1, 1))
    assert outputs_of(model, inputs) == 1
    risk = Risk(outputs_of, SquaredError(), inputs, new)
    norm = theory.residual_norm(risk, model, key=jax.random.key(0), order=4)
    np.testing.assert_allclose(norm.value, 2**0.5, rtol=1e-12)
    assert norm.residual < 1e-12
    gamma = theory.two_layer_curvature(1.0)
    options = {"shift": 0.0, "network_lipschitz": 1.0, "gradient_lipschitz": 1.0}
    assert theory.as_printed.residual_bound(1, gamma, 0.0, **options) == 0
    # With the label term it is attained.
    bound = theory.residual_bound(1, gamma, 0.0, label_change=1.0, **options)
    np.testing.assert_allclose(bound, norm.value, rtol=1e-12)


def test_theorem_b3_is_attained_with_the_root_of_the_outputs():
    """Two outputs that are large multiples of one hidden unit, with equal gradients."""
    model = MLP(2, 2, width=3, depth=2, key=jax.random.key(0))
    zero = [(jnp.zeros_like(m.weight), -jnp.ones(len(m.weight))) for m in model.layers]
    one = [(w.at[0, 0].set(1.0), b.at[0].set(0.0)) for w, b in zero]
    one[2] = (jnp.zeros((2, 3)).at[:, 0].set(1000.0), jnp.zeros(2))
    model = with_weights(model, one)
    inputs = jnp.ones((5, 2))
    outputs, _, hessians = (np.asarray(x) for x in pieces(model, inputs))
    gamma = np.linalg.norm(hessians, 2, axis=(2, 3)).max()
    norm = np.linalg.norm(residual_of(outputs - (outputs - 1), hessians), 2)
    options = {"shift": 0.0, "network_lipschitz": 1.0, "gradient_lipschitz": 1.0}
    bound = theory.residual_bound(2, gamma, 2**0.5, label_change=0.0, **options)
    assert 0.99 * bound < norm <= bound * (1 + 1e-12)
    numbers = {"shift": 0.5, "network_lipschitz": 2.0, "gradient_lipschitz": 3.0}
    assert theory.residual_bound(4, 2.0, 1.0, label_change=0.5, **numbers) == 2 * 2 * 4.5
    assert theory.residual_bound(4, 2.0, 1.0, label_change=0.5, limit=3.0, **numbers) == 12


@COUNTS
def test_curvature_of_the_outputs_of_two_layers(count):
    """Gamma in closed form; R has as much curvature of one sign as of the other."""
    tally = Tally()

    @tried(count, strategies.relu_networks(), strategies.inputs(), strategies.targets())
    def holds(model, inputs, targets):
        outputs, jacobian, hessians = (np.asarray(x) for x in pieces(model, inputs))
        norms = np.linalg.norm(hessians, 2, axis=(2, 3))
        gamma = theory.two_layer_curvature(float(np.linalg.norm(inputs, axis=1).max()))
        assert norms.max() <= gamma * (1 + 1e-12)
        residual = residual_of(outputs - targets, hessians)
        ggn = np.einsum("nop,noq->pq", jacobian, jacobian) / len(jacobian)
        whole = np.asarray(hessian(model, inputs, targets, squared_error))
        np.testing.assert_allclose(ggn + residual, whole, atol=1e-10)
        assert abs(np.trace(residual)) <= 1e-12
        tally.add(norms.max() > 0, tight=norms.max() >= 0.999 * gamma)

    tally.at_least(applies=0.8, tight=0.7)


def test_measured_curvature_and_residual(getkey):
    model = MLP(2, 2, width=3, depth=2, key=getkey())
    inputs = jax.random.normal(getkey(), (5, 2))
    labels = jnp.array([0, 1, 1, 0, 1])
    risk = Risk(outputs_of, SoftmaxCrossEntropy(), inputs, labels)
    outputs, _, hessians = (np.asarray(x) for x in pieces(model, inputs))
    gamma = theory.output_curvature(risk, model, key=getkey(), order=29)
    np.testing.assert_allclose(gamma, np.linalg.norm(hessians, 2, axis=(2, 3)).max(), rtol=1e-9)
    exact = np.linalg.norm(residual_of(gradients_of(outputs, np.asarray(labels)), hessians), 2)
    found = theory.residual_norm(risk, model, key=getkey(), order=29)
    np.testing.assert_allclose(found.value, exact, rtol=1e-9)
    assert found.residual < 1e-9


def rotated(matrix, other, key):
    """Both in one random basis."""
    q, _ = np.linalg.qr(np.asarray(jax.random.normal(key, matrix.shape)))
    return q @ matrix @ q.T, q @ other @ q.T


def eigenvalues(matrix):
    return np.linalg.eigvalsh(matrix)[::-1]


@COUNTS
def test_eigenvalues_index_by_index(count):
    """Corollary B.4 as far as it is true, and the smallest penalty that it asks for."""
    tally = Tally()

    @tried(
        count,
        strategies.covariances(4, 3),
        strategies.symmetric_matrices(4),
        st.integers(0, 8),
        st.integers(1, 4),
    )
    def holds(ggn, residual, eighths, index):
        ggn, residual = rotated(ggn, residual, jax.random.key(eighths))
        norm = np.linalg.norm(residual, 2)
        whole = ggn + residual + eighths / 8 * np.eye(4)
        floor = theory.eigenvalue_floor(eigenvalues(ggn), norm, weight_decay=eighths / 8)
        slack = eigenvalues(whole) - floor
        assert slack.min() >= -1e-10
        enough = theory.sufficient_weight_decay(eigenvalues(ggn), norm, index=index) + 1e-6
        assert eigenvalues(ggn + residual + enough * np.eye(4))[index - 1] > 0
        tally.add(floor[0] > 0, tight=slack.min() <= 0.5 * norm)

    tally.at_least(applies=0.9, tight=0.3)


@pytest.mark.parametrize("wrong", ["(35)", "(38)"])
def test_wrong_forms_of_the_corollary_are_found_out(wrong):
    @broken(strategies.covariances(4, 3), strategies.symmetric_matrices(4))
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


def test_corollary_b4_as_printed_is_false():
    ggn, residual = np.diag([1.0, 0.0]), np.diag([0.0, 0.01])
    smallest = theory.as_printed.smallest_positive_floor(eigenvalues(ggn), 0.01)
    assert smallest == pytest.approx(0.99)
    assert eigenvalues(ggn + residual)[-1] == pytest.approx(0.01)
    # With the penalty that (39) asks for.
    smallest = theory.as_printed.smallest_positive_floor(eigenvalues(ggn), 0.01, weight_decay=0.1)
    assert eigenvalues(ggn + residual + 0.1 * np.eye(2))[-1] < smallest
    low, high = theory.as_printed.weyl(eigenvalues(ggn), np.zeros(2))
    assert (low == 0).all()
    assert (high == 0).all()
    assert eigenvalues(ggn)[0] == 1


@COUNTS
def test_ranks_of_kronecker_products(count):
    tally = Tally()

    @tried(
        count,
        strategies.covariances(3, 2),
        strategies.covariances(2, 1),
        strategies.covariances(3, 1),
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


def test_the_rank_of_a_block_does_not_rise_with_those_of_the_covariances():
    def ranks(x, g):
        rows = np.einsum("ni,nk->nik", x, g).reshape(len(x), -1)
        return tuple(np.linalg.matrix_rank(m) for m in (x.T @ x, g.T @ g, rows.T @ rows))

    e = np.eye(3)
    assert ranks(e[[0, 0, 1, 1]], e[[0, 1, 0, 1]]) == (2, 2, 4)
    assert ranks(e[[0, 1, 2]], e[[0, 1, 1]]) == (3, 2, 3)


def test_the_condition_of_section_7_is_not_sufficient(getkey):
    """It is at least the rank of the Gauss-Newton matrix, and much more in this case."""
    model = MLP(6, 4, width=8, depth=1, key=getkey())
    inputs = jax.random.normal(getkey(), (3, 6))
    risk = Risk(outputs_of, SquaredError(), inputs, jnp.zeros((3, 4)))
    bound = theory.kronecker_rank_bound(risk, model)
    spectrum = GramEigh()(GaussNewton(risk, model), key=getkey())
    rank = epsilon_rank(spectrum, 1e-9, relative=True).value
    assert theory.gram_rank_bound(risk, model) == round(float(rank)) == 12
    # Three inputs of either layer, and the gradients of living units and of outputs.
    assert bound >= 2 * rank


def centred(inputs, gradients):
    """Samples with E[g | x] = 0: each gradient with both signs."""
    return jnp.concatenate([inputs, inputs]), jnp.concatenate([gradients, -gradients])


@COUNTS
def test_the_error_of_a_kronecker_factorisation_in_cumulants(count):
    """Equation (6) with plus in both places."""
    tally = Tally()

    @tried(count, strategies.inputs(4, 2), strategies.inputs(4, 2))
    def holds(x, g):
        inputs, gradients = centred(x, g)
        error = theory.factorisation_error(inputs, gradients)
        found = theory.cumulant_error(inputs, gradients)
        np.testing.assert_allclose(found, error, atol=1e-12)
        kron = np.einsum("ijkl->ikjl", error).reshape(4, 4)
        a, b = inputs.T @ inputs / 8, gradients.T @ gradients / 8
        rows = np.einsum("ni,nk->nik", inputs, gradients).reshape(8, 4)
        np.testing.assert_allclose(kron, rows.T @ rows / 8 - np.kron(a, b), atol=1e-12)
        tally.add(bool(jnp.max(jnp.abs(error)) > 1e-6))

    tally.at_least(applies=0.8)


def test_equation_6_as_printed_is_false():
    """Two inputs of one dimension: the error is 1, and what is printed 0."""
    inputs, gradients = centred(jnp.array([[2.0], [0.0]]), jnp.array([[1.0], [0.0]]))
    np.testing.assert_allclose(theory.factorisation_error(inputs, gradients), [[[[1.0]]]])
    np.testing.assert_allclose(theory.cumulant_error(inputs, gradients), [[[[1.0]]]])
    printed = theory.as_printed.cumulant_error(inputs, gradients)
    np.testing.assert_allclose(printed, [[[[0.0]]]], atol=1e-15)

    @broken(strategies.inputs(4, 2), strategies.inputs(4, 2))
    def holds(x, g):
        printed = theory.as_printed.cumulant_error(*centred(x, g))
        assert jnp.allclose(printed, theory.factorisation_error(*centred(x, g)), atol=1e-9)


def test_the_empirical_factors_are_outside_equation_6():
    x, g = jnp.array([[1.0], [0.0]]), jnp.array([[1.0], [1.0]])
    for form in (theory.cumulant_error, theory.as_printed.cumulant_error):
        with pytest.raises(ValueError, match=r"hypothesis E\[g \| x\] = 0"):
            form(x, g)


def test_cumulants_of_the_exact_factor_of_a_network(getkey):
    """The error of `KFAC` for the last layer, from the columns of its output factor."""
    model = MLP(2, 3, width=2, depth=1, key=getkey())
    inputs = jax.random.normal(getkey(), (4, 2))
    risk = Risk(outputs_of, SoftmaxCrossEntropy(), inputs, jnp.zeros(4, int))
    outputs, taps = jax.vmap(model)(inputs)
    ones = jnp.ones((4, 1))
    features = jnp.concatenate([taps["hidden_0"], ones], axis=1)
    columns = risk.loss.hessian_root(outputs, risk.targets)  # [3, 4, 3]
    x = jnp.concatenate([features] * 3)
    g = columns.reshape(12, 3) * 3**0.5
    error = theory.cumulant_error(*centred(x, g))
    block = KFAC(risk, model).blocks[-1]
    g_exact = np.einsum("kno,knp,ni,nj->ijop", columns, columns, features, features) / 4
    factored = np.einsum("ij,op->ijop", block.inputs, block.outputs)
    np.testing.assert_allclose(error, g_exact - factored, atol=1e-12)


@COUNTS
def test_effective_rank_of_features_and_of_their_covariance(count):
    tally = Tally()

    @tried(count, strategies.inputs(4, 3))
    def holds(features):
        of_covariance = float(theory.covariance_effective_rank(features))
        of_features = float(feature_effective_rank(features))
        values = np.linalg.eigvalsh(features.T @ features)
        p = values[values > 1e-12 * max(values[-1], 1e-300)]
        expected = np.exp(-np.sum(p / p.sum() * np.log(p / p.sum()))) if p.size else 0
        np.testing.assert_allclose(of_covariance, expected, atol=1e-8)
        assert of_covariance <= of_features + 1e-9
        tally.add(of_features > 1 + 1e-6, tight=of_covariance < of_features - 1e-3)

    tally.at_least(applies=0.8, tight=0.9)
    # They agree where all singular values are equal.
    equal = jnp.eye(4, 3)[:, :2]
    np.testing.assert_allclose(
        theory.covariance_effective_rank(equal), feature_effective_rank(equal)
    )
    # Whatever their size is, also where the squares are no longer numbers of float32.
    for size in (1e-30, 1e30):
        of_features = theory.covariance_effective_rank(jnp.float32(size) * jnp.eye(3, dtype="f4"))
        np.testing.assert_allclose(of_features, 3, rtol=1e-5)
    assert theory.covariance_effective_rank(jnp.zeros((3, 2))) == 0


@pytest.mark.parametrize(("loss", "count"), counts_of("softmax", "squared"))
def test_the_gram_matrix_has_the_eigenvalues_of_the_gauss_newton_matrix(loss, count):
    """For every eps: the sorted eigenvalues agree. The Gauss-Newton matrix is made of Jacobians
    here, and the Gram matrix by the operator."""
    squared = loss == "squared"
    of_outputs = SquaredError(scale=0.7) if squared else SoftmaxCrossEntropy()
    targets = strategies.targets() if squared else strategies.labels()
    tally = Tally()

    @eqx.filter_jit
    def gram(model, inputs, targets):
        return Gram(Risk(outputs_of, of_outputs, inputs, targets), model).dense()

    @tried(count, strategies.relu_networks(**DEEP), strategies.inputs(), targets)
    def holds(model, inputs, targets):
        outputs, jacobian, _ = (np.asarray(x) for x in pieces(model, inputs))
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


def test_equivalence_gap_and_rank_bound(getkey):
    model = MLP(2, 3, width=3, depth=1, key=getkey())
    inputs = jax.random.normal(getkey(), (4, 2))
    squared = Risk(outputs_of, SquaredError(), inputs, jnp.zeros((4, 3)))
    softmax_risk = Risk(outputs_of, SoftmaxCrossEntropy(), inputs, jnp.zeros(4, int))
    for risk, bound in ((squared, 12), (softmax_risk, 8)):
        assert theory.equivalence_gap(risk, model) < 1e-12
        assert theory.gram_rank_bound(risk, model) == bound
    many = Risk(outputs_of, SquaredError(), jnp.ones((30, 2)), jnp.zeros((30, 3)))
    assert theory.gram_rank_bound(many, model) == 21


def test_bad_numbers_are_refused(getkey):
    with pytest.raises(ValueError, match="`curvature` is -1"):
        theory.residual_bound(
            2, -1, 1, shift=0, network_lipschitz=1, gradient_lipschitz=1, label_change=0
        )
    with pytest.raises(ValueError, match="`outputs` is 0"):
        theory.as_printed.residual_bound(
            0, 1, 1, shift=0, network_lipschitz=1, gradient_lipschitz=1
        )
    with pytest.raises(ValueError, match="`limit` is nan"):
        theory.residual_bound(
            2,
            1,
            1,
            shift=0,
            network_lipschitz=1,
            gradient_lipschitz=1,
            label_change=0,
            limit=np.nan,
        )
    with pytest.raises(ValueError, match="`radius` is -1"):
        theory.two_layer_curvature(-1)
    ones = np.ones(3)
    with pytest.raises(ValueError, match="`residual_norm` is -1"):
        theory.eigenvalue_floor(ones, -1.0)
    with pytest.raises(ValueError, match="`weight_decay` is -1"):
        theory.eigenvalue_floor(ones, 1.0, weight_decay=-1.0)
    with pytest.raises(ValueError, match=r"have the shape \(0,\)"):
        theory.eigenvalue_floor(np.zeros(0), 1.0)
    with pytest.raises(ValueError, match="`index` is 4, but there are 3"):
        theory.sufficient_weight_decay(ones, 1.0, index=4)
    with pytest.raises(ValueError, match="3 `eigenvalues` and 2 `residual_eigenvalues`"):
        theory.as_printed.weyl(ones, ones[:2])
    with pytest.raises(ValueError, match="one of the `eigenvalues` is positive"):
        theory.as_printed.smallest_positive_floor(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="`epsilon` is 0"):
        theory.kronecker_epsilon_rank(np.eye(2), np.eye(2), 0)
    with pytest.raises(ValueError, match="`gradients` is of shape"):
        theory.kronecker_epsilon_rank(np.eye(2), np.ones((2, 3)), 0.1)
    with pytest.raises(ValueError, match="or not symmetric"):
        theory.kronecker_epsilon_rank(np.array([[0.0, 1.0], [0.0, 0.0]]), np.eye(2), 0.1)
    risk = Risk(two_outputs, two_losses, jnp.ones((3, 2)), jnp.zeros(3))
    with pytest.raises(ValueError, match="hypothesis of one vector of outputs"):
        theory.output_curvature(risk, jnp.ones(2), key=getkey())


def two_outputs(params, inputs):
    return inputs @ params, inputs @ params


def two_losses(outputs, targets):
    return (outputs[0] - outputs[1] - targets) ** 2
