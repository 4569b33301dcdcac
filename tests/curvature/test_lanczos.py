"""Lanczos against dense matrices in randomly rotated bases: a diagonal one would hide errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from curvature_cases import check_scaled, matrix, ranks, rotated, rotation

from spectral.curvature import (
    epsilon_rank,
    Lanczos,
    Matrix,
    Normal,
    Rademacher,
    Sphere,
    sphere_vector,
    vector_key,
)
from spectral.curvature.estimators.spectrum._order import order_within


DIM = 32
MIXED = np.concatenate([[-7.0, -0.5, 40.0, 90.0], np.linspace(0.1, 3.0, DIM - 4)])
# Most tests share the program of one of these two.
SHORT = Lanczos(order=6, distribution=Normal())
LONG = Lanczos(order=20)


def seen(distribution, key, index, dtype=float, dim=DIM):
    """The mass that the measure of a vector has at each eigenvalue."""
    start = distribution(dim, dtype, key=vector_key(key, index))
    return (rotation(dim).T @ np.asarray(start, float)) ** 2


def test_default_order():
    assert order_within("order", None, 32, default=100) == 32
    assert order_within("order", None, 200, default=100) == 100
    assert order_within("order", 8, 8, default=100) == 8
    with pytest.raises(ValueError, match="`order` is 9, but must be at most 8"):
        order_within("order", 9, 8, default=100)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", [8, None])
def test_full_order_finds_every_eigenvalue(order, getkey):
    eigenvalues = np.array([-7.0, -0.5, 0.1, 1.0, 2.0, 3.0, 40.0, 90.0])
    key = getkey()
    spectrum = Lanczos(order=order, num_vectors=2)(matrix(eigenvalues), key=key)
    assert spectrum.nodes.shape == (2, 8)
    assert spectrum.dim == 8
    assert spectrum.exhausted.all()
    for index in range(2):
        np.testing.assert_allclose(spectrum.nodes[index], eigenvalues, rtol=1e-10)
        expected = seen(Sphere(), key, index, dim=8)
        np.testing.assert_allclose(spectrum.weights[index], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_nodes_and_weights_integrate_polynomials_exactly(getkey):
    order, eigenvalues, key = 6, np.linspace(-1, 1.2, DIM), getkey()
    spectrum = SHORT(matrix(eigenvalues), key=key)
    for index in range(3):
        nodes, weights = np.asarray(spectrum.nodes[index]), np.asarray(spectrum.weights[index])
        mass = seen(Normal(), key, index)
        for power in range(2 * order):
            moment, expected = np.sum(weights * nodes**power), np.sum(mass * eigenvalues**power)
            np.testing.assert_allclose(moment, expected, rtol=1e-11, atol=1e-13)
        moment = np.sum(weights * nodes ** (2 * order))
        assert abs(moment / np.sum(mass * eigenvalues ** (2 * order)) - 1) > 1e-7


@pytest.mark.usefixtures("float64")
def test_bounds_hold_for_every_vector(getkey):
    eigenvalues, key = np.r_[-6, -3, np.linspace(-0.5, 1.5, 28), 30, 31], getkey()
    spectrum = SHORT(matrix(eigenvalues), key=key)
    thresholds = np.array([1e-3, 0.03, 0.1, 0.3, 0.5, 0.8, 1.2, 5.0])
    both = jax.vmap(lambda s, t: (s.mass_above(t), s.mass_below(-t)), in_axes=(None, 0))
    tails = jax.tree.map(np.asarray, eqx.filter_jit(both)(spectrum, jnp.asarray(thresholds)))
    seen_by = np.stack([seen(Normal(), key, index) for index in range(3)])
    sides = eigenvalues > thresholds[:, None], eigenvalues < -thresholds[:, None]
    for tail, beyond in zip(tails, sides, strict=True):
        truth = beyond @ seen_by.T  # [thresholds, vectors]
        assert (tail.lower <= truth + 1e-9).all()
        assert (tail.upper >= truth - 1e-9).all()
        assert (tail.lower <= tail.value).all()
        assert (tail.value <= tail.upper).all()
        assert (tail.lower > 0).any()
        assert (tail.upper < seen_by.sum(axis=1) - 1e-3).any()


@pytest.mark.usefixtures("float64")
def test_each_vector_runs_its_own_iteration(getkey):
    """The coefficients are those of a Lanczos iteration in NumPy, the residuals those of its Ritz
    vectors, and an eigenvalue lies within the residual of each node."""
    array, key = rotated(MIXED), getkey()
    spectrum = jax.tree.map(np.asarray, SHORT(matrix(MIXED), key=key))
    for index in range(3):
        start = np.asarray(Normal()(DIM, float, key=vector_key(key, index)))
        basis = [start / np.linalg.norm(start)]
        for k in range(5):
            new = array @ basis[k]
            for _ in range(2):
                new -= np.stack(basis, 1) @ (np.stack(basis) @ new)
            basis.append(new / np.linalg.norm(new))
        tridiagonal = np.stack(basis) @ array @ np.stack(basis, 1)
        np.testing.assert_allclose(spectrum.diagonal[index], np.diag(tridiagonal), rtol=1e-9)
        off_diagonal = np.diag(tridiagonal, 1)
        np.testing.assert_allclose(spectrum.off_diagonal[index], off_diagonal, rtol=1e-9)
        nodes, residuals = spectrum.nodes[index], spectrum.residuals[index]
        ritz = np.stack(basis, axis=1) @ np.linalg.eigh(tridiagonal)[1]
        expected = np.linalg.norm(array @ ritz - ritz * nodes, axis=0)
        np.testing.assert_allclose(residuals, expected, rtol=1e-6, atol=1e-9)
        distance = np.abs(nodes[:, None] - MIXED[None]).min(axis=1)
        assert (distance <= residuals + 1e-12).all()


EXHAUSTED = {
    "zero": np.zeros(DIM),
    "identity": np.ones(DIM),
    "rank 1": np.r_[23.15, np.zeros(DIM - 1)],
    "rank 9": np.r_[-4, np.linspace(2, 23.15, 8), np.zeros(DIM - 9)],
    "two clusters": np.r_[np.full(16, 3.0), np.full(16, -1.0)],
    "outlier": np.r_[2000.0, np.full(DIM - 1, 1.0)],
}


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("eigenvalues", EXHAUSTED.values(), ids=EXHAUSTED)
def test_exhausted_krylov_spaces_are_exact(eigenvalues, precision, getkey):
    key, order = getkey(), 20
    with jax.enable_x64(precision == "float64"):
        spectrum = LONG(matrix(eigenvalues, precision), key=key)
        (rank,) = ranks(spectrum, 0.1)
        masses = [seen(Sphere(), key, index, precision) for index in range(3)]
    spectrum = jax.tree.map(np.asarray, spectrum)
    for field in jax.tree.leaves(eqx.filter(spectrum, eqx.is_inexact_array)):
        assert np.isfinite(field).all()
    assert spectrum.exhausted.all()
    leads_out = np.concatenate([spectrum.off_diagonal, spectrum.residuals], axis=1)
    assert (leads_out == 0).any(axis=1).all()
    np.testing.assert_allclose(rank.lower, rank.value, rtol=1e-6)
    np.testing.assert_allclose(rank.upper, rank.value, rtol=1e-6)
    beyond = np.abs(eigenvalues) > 0.1
    expected = len(eigenvalues) * np.mean([mass[beyond].sum() for mass in masses])
    digits = 1e-4 if precision == "float32" else 1e-10
    np.testing.assert_allclose(rank.value, expected, rtol=digits, atol=1e-12)
    # No node is far from an eigenvalue, and none is found twice.
    distance = np.abs(spectrum.nodes[..., None] - eigenvalues).min(axis=-1)
    assert distance.max() <= 10 * spectrum.tolerance.max()
    # The restarts find further copies of an eigenvalue, as far as the order reaches.
    counts = (np.abs(spectrum.nodes) > 0.1).sum(axis=1)
    assert (counts == min(beyond.sum(), order)).all()


def test_a_power_of_two_changes_no_digit_of_float32(getkey):
    rng, key = np.random.default_rng(4), getkey()
    for power in (-100, -64, 64, 100, *rng.integers(-100, 101, 8)):
        array = rotated(rng.normal(size=DIM) * 10 ** rng.uniform(-3, 0, DIM)).astype(np.float32)
        find = lambda p, a=array: LONG(Matrix(jnp.asarray(np.ldexp(a, p))), key=key)
        check_scaled(find(int(power)), find(0), int(power))


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 3e19, 1e30])
def test_entries_whose_squares_leave_float32(scale, getkey):
    spectrum = LONG(matrix(scale * np.linspace(-1, 1, DIM), jnp.float32), key=getkey())
    np.testing.assert_allclose(np.stack(spectrum.range()) / scale, [-1, 1], rtol=1e-3)
    assert not spectrum.exhausted.any()
    (rank,) = ranks(spectrum, 0.5 * scale)
    assert rank.low <= DIM // 2 <= rank.high
    assert rank.high < DIM


@pytest.mark.slow
def test_restarts_keep_the_basis_orthogonal(getkey):
    # Each eigenvalue has copies, and only a restart or rounding leads to the second one.
    eigenvalues = np.repeat(np.linspace(1, 10, 10), 2)
    spectrum = Lanczos(order=20)(matrix(eigenvalues, jnp.float32), key=getkey())
    assert spectrum.exhausted.all()
    for nodes in spectrum.nodes:
        np.testing.assert_allclose(nodes, eigenvalues, rtol=1e-4)


def test_the_tridiagonal_matrix_is_solved_in_float64(getkey):
    eigenvalues = np.r_[np.linspace(5000, 10_000, 5), np.linspace(0, 0.3, DIM - 5)]
    spectrum = LONG(matrix(eigenvalues, jnp.float32), key=getkey())
    assert not spectrum.exhausted.any()
    assert spectrum.nodes.dtype == spectrum.weights.dtype == jnp.float32
    for index in range(3):
        off_diagonal = np.asarray(spectrum.off_diagonal[index], float)
        nodes, vectors = scipy.linalg.eigh_tridiagonal(
            np.asarray(spectrum.diagonal[index], float), off_diagonal
        )
        np.testing.assert_allclose(spectrum.nodes[index], nodes, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(spectrum.weights[index], vectors[0] ** 2, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("order", [60, 100])
def test_float32_is_enough(order, getkey):
    # 30 outliers over five decades, on both sides, above a bulk; order 60 finds them in one pass.
    outliers = np.r_[-np.geomspace(1, 200, 10), np.geomspace(1, 1000, 20)]
    eigenvalues = np.r_[outliers, np.linspace(-0.02, 0.03, 170)]
    key = getkey()
    spectrum = Lanczos(order=order, num_vectors=2)(matrix(eigenvalues, jnp.float32), key=key)
    np.testing.assert_allclose(spectrum.nodes[:, 0], -200, rtol=1e-5)
    np.testing.assert_allclose(spectrum.nodes[:, -1], 1000, rtol=1e-5)
    rank = epsilon_rank(spectrum, 0.1)
    masses = [seen(Sphere(), key, i, jnp.float32, 200)[:30].sum() for i in range(2)]
    np.testing.assert_allclose(rank.value, 200 * np.mean(masses), rtol=1e-3)
    assert rank.resolved


@pytest.mark.usefixtures("float64")
def test_the_estimate_is_a_function_of_the_key(getkey):
    operator, keys = matrix(MIXED), jax.random.split(getkey(), 2)
    spectrum = SHORT(operator, key=keys[0])
    # Each vector and each key draws new numbers.
    assert len(np.unique(np.round(spectrum.diagonal, 10))) == 18
    assert not np.allclose(spectrum.diagonal, SHORT(operator, key=keys[1]).diagonal)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_fewer_vectors_and_larger_programs(getkey):
    operator, keys = matrix(MIXED), jax.random.split(getkey(), 2)
    spectrum = SHORT(operator, key=keys[0])
    # Fewer vectors are the first ones of more.
    fewer = Lanczos(order=6, num_vectors=2, distribution=Normal())(operator, key=keys[0])
    np.testing.assert_allclose(fewer.nodes, spectrum.nodes[:2], rtol=1e-9)
    # As a part of larger programs.
    batched = eqx.filter_jit(eqx.filter_vmap(lambda key: SHORT(operator, key=key)))(keys)
    np.testing.assert_allclose(batched.nodes[0], spectrum.nodes, rtol=1e-9)
    assert batched.dim == DIM


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("distribution", [Sphere(), Normal(), Rademacher()])
def test_distributions_of_vectors(distribution, getkey):
    key, count = getkey(), 100
    draw = lambda i, dtype: distribution(DIM, dtype, key=vector_key(key, i))
    single, double = jax.jit(
        lambda i: [jax.vmap(lambda i, t=t: draw(i, t))(i) for t in (jnp.float32, jnp.float64)]
    )(jnp.arange(count))
    starts = np.asarray(double)
    # The mean of v v^T is I / dim, entry by entry.
    np.testing.assert_allclose(starts.T @ starts * DIM / count, np.eye(DIM), atol=0.6)
    lengths = np.linalg.norm(starts, axis=1)
    if isinstance(distribution, Normal):
        np.testing.assert_allclose(np.var(lengths**2), 2 / DIM, rtol=0.5)
    else:
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    if isinstance(distribution, Rademacher):
        np.testing.assert_allclose(np.abs(starts), DIM**-0.5, rtol=1e-6)
    # The same key draws the same numbers in single precision.
    np.testing.assert_allclose(single, starts, rtol=1e-6)
    if isinstance(distribution, Sphere):
        np.testing.assert_allclose(sphere_vector(key, 3, DIM, float), starts[3], rtol=1e-12)


def test_draws_of_one_vector_differ(getkey):
    key = getkey()
    keys = [vector_key(key, 0), vector_key(key, 1), vector_key(key, 0, draw=1)]
    assert len({str(jax.random.key_data(k)) for k in keys}) == 3
    np.testing.assert_array_equal(
        jax.random.key_data(vector_key(key, 2)), jax.random.key_data(vector_key(key, 2, draw=0))
    )


@pytest.mark.slow
def test_the_default_settings_in_float32_agree_with_float64(getkey):
    outliers = np.r_[-np.geomspace(1, 20, 5), np.geomspace(1, 1000, 20)]
    eigenvalues = np.r_[outliers, np.linspace(-0.02, 0.05, 375)]
    key, answers = getkey(), []
    for precision in (jnp.float32, jnp.float64):
        with jax.enable_x64(precision == jnp.float64):
            spectrum = Lanczos()(matrix(eigenvalues, precision), key=key)
            assert spectrum.nodes.shape == (3, 100)
            assert spectrum.nodes.dtype == precision
            moments = [spectrum.mean(lambda x, p=p: x**p) for p in range(1, 5)]
            found = [epsilon_rank(spectrum, e) for e in (0.1, 0.5, 5.0, 50.0)]
            assert all(r.resolved for r in found)
            found = [(r.value, r.lower, r.upper, r.sem) for r in found]
            answers.append(jax.tree.map(np.asarray, (moments, found, spectrum.range())))
    for single, double in zip(*map(jax.tree.leaves, answers), strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-3)
