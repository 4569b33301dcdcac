"""Lanczos against dense matrices in randomly rotated bases: a diagonal one would hide errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.typing import DTypeLike
from matfree import decomp

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


def rotated(eigenvalues, dtype: DTypeLike = float):
    """A matrix with these eigenvalues, and that of its eigenvectors."""
    rng = np.random.default_rng(len(eigenvalues))
    vectors = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    return Matrix(jnp.asarray((vectors * eigenvalues) @ vectors.T, dtype)), vectors


def masses(vectors, key, probe=0, dtype=float):
    """What probe number `probe` sees of each eigenvalue."""
    start = np.asarray(sphere_vector(key, probe, len(vectors), dtype), float)
    return (vectors.T @ start) ** 2


MIXED = np.concatenate([[-7.0, -0.5, 40.0, 90.0], np.linspace(0.1, 3.0, 26)])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", [30, None])
def test_full_order_recovers_every_eigenvalue(order, getkey):
    operator, vectors = rotated(MIXED)
    key = getkey()
    spectrum = Lanczos(order=order, num_vectors=2)(operator, key=key)
    assert spectrum.nodes.shape == (2, 30)
    assert spectrum.dim == 30
    assert spectrum.exhausted.all()
    by_size = np.argsort(MIXED)
    for probe in range(2):
        np.testing.assert_allclose(spectrum.nodes[probe], MIXED[by_size], rtol=1e-10)
        expected = masses(vectors, key, probe)[by_size]
        np.testing.assert_allclose(spectrum.weights[probe], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_nodes_and_weights_integrate_polynomials_exactly(getkey):
    order = 6
    eigenvalues = np.linspace(-1, 1.2, 40)
    operator, vectors = rotated(eigenvalues)
    key = getkey()
    spectrum = Lanczos(order=order, num_vectors=2)(operator, key=key)
    np.testing.assert_allclose(spectrum.weights.sum(axis=1), 1, rtol=1e-12)
    for probe in range(2):
        nodes, weights = spectrum.nodes[probe], spectrum.weights[probe]
        seen = masses(vectors, key, probe)
        for power in range(2 * order):
            moment, expected = np.sum(weights * nodes**power), np.sum(seen * eigenvalues**power)
            np.testing.assert_allclose(moment, expected, rtol=1e-11, atol=1e-13)
        moment = np.sum(weights * nodes ** (2 * order))
        assert abs(moment / np.sum(seen * eigenvalues ** (2 * order)) - 1) > 1e-7


@pytest.mark.usefixtures("float64")
def test_an_eigenvalue_lies_within_the_residual_of_each_node(getkey):
    operator, vectors = rotated(MIXED)
    key = getkey()
    spectrum = Lanczos(order=8, num_vectors=1)(operator, key=key)
    nodes, residuals = spectrum.nodes[0], spectrum.residuals[0]
    distance = np.abs(nodes[:, None] - MIXED[None]).min(axis=1)
    assert (distance <= residuals + 1e-12).all()
    # The residual itself: the Krylov basis is rebuilt from the coefficients.
    tridiagonal = np.diag(spectrum.diagonal[0])
    tridiagonal += np.diag(spectrum.off_diagonal[0], 1) + np.diag(spectrum.off_diagonal[0], -1)
    small = np.linalg.eigh(tridiagonal)[1]
    dense = np.asarray(operator.dense())
    krylov = [np.asarray(sphere_vector(key, 0, 30, float))]
    for k, beta in enumerate(np.asarray(spectrum.off_diagonal[0])):
        new = dense @ krylov[k] - spectrum.diagonal[0, k] * krylov[k]
        new -= tridiagonal[k, k - 1] * krylov[k - 1] if k else 0
        krylov.append(np.asarray(new) / beta)
    ritz = np.stack(krylov, axis=1) @ small
    expected = np.linalg.norm(dense @ ritz - ritz * np.asarray(nodes)[None], axis=0)
    np.testing.assert_allclose(residuals, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "eigenvalues",
    [
        pytest.param(np.zeros(60), id="zero"),
        pytest.param(np.ones(60), id="identity"),
        pytest.param(np.r_[23.15, np.zeros(59)], id="rank 1"),
        pytest.param(np.r_[-4, np.linspace(2, 23.15, 8), np.zeros(51)], id="rank 9"),
        pytest.param(np.r_[np.full(30, 3.0), np.full(30, -1.0)], id="two clusters"),
        pytest.param(np.r_[2000.0, np.full(59, 1.0)], id="outlier"),
    ],
)
def test_exhausted_krylov_spaces_are_exact(eigenvalues, precision, getkey):
    key, order = getkey(), 40
    with jax.enable_x64(precision == "float64"):
        operator, vectors = rotated(eigenvalues, precision)
        spectrum = Lanczos(order=order, num_vectors=2)(operator, key=key)
        rank = epsilon_rank(spectrum, 0.1)
        seen = [masses(vectors, key, probe, precision) for probe in range(2)]
    spectrum, rank = jax.tree.map(np.asarray, (spectrum, rank))
    for field in jax.tree.leaves(eqx.filter(spectrum, eqx.is_inexact_array)):
        assert np.isfinite(field).all()
    assert spectrum.exhausted.all()
    leads_out = np.concatenate([spectrum.off_diagonal, spectrum.residuals], axis=1)
    assert (leads_out == 0).any(axis=1).all()
    np.testing.assert_allclose(rank.lower, rank.value, rtol=1e-6)
    np.testing.assert_allclose(rank.upper, rank.value, rtol=1e-6)
    beyond = np.abs(eigenvalues) > 0.1
    expected = len(eigenvalues) * np.mean([mass[beyond].sum() for mass in seen])
    digits = 1e-4 if precision == "float32" else 1e-10
    np.testing.assert_allclose(rank.value, expected, rtol=digits, atol=1e-12)
    # No node is far from an eigenvalue, and none is found twice.
    distance = np.abs(spectrum.nodes[..., None] - eigenvalues).min(axis=-1)
    assert distance.max() <= 10 * spectrum.tolerance.max()
    # The restarts go on to find the other copies of an eigenvalue, as far as the order reaches.
    counts = (np.abs(spectrum.nodes) > 0.1).sum(axis=1)
    assert (counts == min(beyond.sum(), order)).all()


def test_restarts_keep_the_basis_orthogonal(getkey):
    # Each eigenvalue is double, and its second copy is only found by restarting.
    eigenvalues = np.repeat(np.linspace(1, 20, 20), 2)
    operator, _ = rotated(eigenvalues, jnp.float32)
    spectrum = Lanczos(order=40, num_vectors=2)(operator, key=getkey())
    assert spectrum.exhausted.all()
    for nodes in spectrum.nodes:
        np.testing.assert_allclose(nodes, eigenvalues, rtol=1e-4)


@pytest.mark.parametrize("order", [60, 100])
def test_float32_is_enough(order, getkey):
    # 30 outliers over five decades, on both sides, above a bulk; order 60 finds them in one pass.
    outliers = np.r_[-np.geomspace(1, 200, 10), np.geomspace(1, 1000, 20)]
    eigenvalues = np.r_[outliers, np.linspace(-0.02, 0.03, 170)]
    operator, vectors = rotated(eigenvalues, jnp.float32)
    key = getkey()
    spectrum = Lanczos(order=order, num_vectors=2)(operator, key=key)
    np.testing.assert_allclose(spectrum.nodes[:, 0], -200, rtol=1e-5)
    np.testing.assert_allclose(spectrum.nodes[:, -1], 1000, rtol=1e-5)
    rank = epsilon_rank(spectrum, 0.1)
    seen = [masses(vectors, key, probe, jnp.float32)[:30].sum() for probe in range(2)]
    np.testing.assert_allclose(rank.value, 200 * np.mean(seen), rtol=1e-3)
    assert rank.resolved


def test_the_tridiagonal_matrix_is_solved_in_float64(getkey):
    eigenvalues = np.r_[np.linspace(5000, 10_000, 10), np.linspace(0, 0.3, 190)]
    operator, _ = rotated(eigenvalues, jnp.float32)
    spectrum = Lanczos(order=60)(operator, key=getkey())
    assert not spectrum.exhausted.any()
    assert spectrum.nodes.dtype == spectrum.weights.dtype == jnp.float32
    for probe in range(3):
        off_diagonal = np.asarray(spectrum.off_diagonal[probe], float)
        nodes, vectors = scipy.linalg.eigh_tridiagonal(
            np.asarray(spectrum.diagonal[probe], float), off_diagonal
        )
        np.testing.assert_allclose(spectrum.nodes[probe], nodes, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(spectrum.weights[probe], vectors[0] ** 2, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_the_estimate_is_a_function_of_the_key_alone(getkey):
    operator, _ = rotated(MIXED)
    estimator = Lanczos(order=5, num_vectors=3)
    keys = jax.random.split(getkey(), 2)
    spectrum = estimator(operator, key=keys[0])
    # Each probe, and each key, draws anew.
    assert len(np.unique(np.round(spectrum.diagonal, 10))) == 15
    assert not np.allclose(spectrum.diagonal, estimator(operator, key=keys[1]).diagonal)
    # Fewer probes are the first ones of more.
    fewer = Lanczos(order=5, num_vectors=2)(operator, key=keys[0])
    np.testing.assert_allclose(fewer.nodes, spectrum.nodes[:2], rtol=1e-9)
    # As a part of larger programs.
    batched = eqx.filter_jit(eqx.filter_vmap(lambda key: estimator(operator, key=key)))(keys)
    np.testing.assert_allclose(batched.nodes[0], spectrum.nodes, rtol=1e-9)
    assert batched.dim == 30


@pytest.mark.usefixtures("float64")
def test_probes_one_by_one_are_those_of_one_run(getkey):
    operator, _ = rotated(MIXED)
    key = getkey()
    spectrum = Lanczos(order=5, num_vectors=3)(operator, key=key)

    def alone(probe):
        start = sphere_vector(key, probe, 30, float)
        (diagonal, off_diagonal) = decomp.tridiag_sym(5, materialize=False)(operator.mv, start)[1]
        return diagonal, off_diagonal

    diagonal, off_diagonal = jax.vmap(alone)(jnp.arange(3))
    np.testing.assert_allclose(spectrum.diagonal, diagonal, rtol=1e-9)
    np.testing.assert_allclose(spectrum.off_diagonal, off_diagonal, rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("distribution", [Sphere(), Normal(), Rademacher()])
def test_distributions_of_probes(distribution, getkey):
    operator, vectors = rotated(MIXED)
    key, probes = getkey(), 100
    spectrum = Lanczos(num_vectors=probes, distribution=distribution)(operator, key=key)
    starts = jax.vmap(lambda i: distribution(30, float, key=vector_key(key, i)))(jnp.arange(probes))
    # The measures are those of these vectors, whatever their length.
    moments = np.mean((np.asarray(starts) @ vectors) ** 2 @ np.stack([MIXED**0, MIXED**3], 1), 0)
    np.testing.assert_allclose(np.mean(np.sum(spectrum.weights, axis=1)), moments[0], rtol=1e-9)
    np.testing.assert_allclose(np.mean(spectrum.mean(lambda x: x**3)), moments[1], rtol=1e-9)
    # The mean of v v^T is I / dim, entry by entry.
    outer = np.asarray(starts.T @ starts) * 30 / probes
    np.testing.assert_allclose(outer, np.eye(30), atol=0.6)
    lengths = np.linalg.norm(starts, axis=1)
    if isinstance(distribution, Normal):
        np.testing.assert_allclose(np.var(lengths**2), 2 / 30, rtol=0.5)
    else:
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    if isinstance(distribution, Rademacher):
        np.testing.assert_allclose(np.abs(starts), 30**-0.5, rtol=1e-6)
    # The same key draws the same numbers in single precision.
    single = distribution(30, jnp.float32, key=vector_key(key, 3))
    np.testing.assert_allclose(single, starts[3], rtol=1e-6)


def test_the_default_settings_in_float32_agree_with_float64(getkey):
    outliers = np.r_[-np.geomspace(1, 20, 5), np.geomspace(1, 1000, 20)]
    eigenvalues = np.r_[outliers, np.linspace(-0.02, 0.05, 375)]
    key, answers = getkey(), []
    for precision in (jnp.float32, jnp.float64):
        with jax.enable_x64(precision == jnp.float64):
            operator, _ = rotated(eigenvalues, precision)
            spectrum = Lanczos()(operator, key=key)
            assert spectrum.nodes.shape == (3, 100)
            assert spectrum.nodes.dtype == precision
            moments = [spectrum.mean(lambda x, p=p: x**p) for p in range(1, 5)]
            ranks = [epsilon_rank(spectrum, e) for e in (0.1, 0.5, 5.0, 50.0)]
            assert all(r.resolved for r in ranks)
            found = [(r.value, r.lower, r.upper, r.sem) for r in ranks]
            answers.append(jax.tree.map(np.asarray, (moments, found, spectrum.range())))
    for single, double in zip(*map(jax.tree.leaves, answers), strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-3)
