"""Every estimator against dense matrices in randomly rotated bases, and where matrices are hard."""

import contextlib
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import check_scaled, matrix, ranks, rotated, rotation, summary
from jax.tree_util import Partial
from tables import ESTIMATORS

from spectral.curvature import (
    AbstractOperator,
    Chebyshev,
    Deflated,
    Dense,
    extreme_eigenpairs,
    extremes,
    Function,
    GramEigh,
    Hessian,
    Hutchinson,
    HutchinsonDiagonal,
    Lanczos,
    MatfreeLanczos,
    Matrix,
    sphere_vector,
    vector_key,
    XDiagonal,
    XNysDiagonal,
    XNysTrace,
    XTrace,
)
from spectral.curvature.estimators._vectors import BEFORE_VECTORS
from spectral.curvature.estimators.spectrum._order import order_within


DIM = 32
BREAKDOWN = {
    "zero": np.zeros(DIM),
    "identity": np.ones(DIM),
    "rank 1": np.r_[23.15, np.zeros(DIM - 1)],
    "rank 9": np.r_[-4, np.linspace(2, 23.15, 8), np.zeros(DIM - 9)],
    "rank 9 positive": np.r_[np.linspace(2, 23.15, 9), np.zeros(DIM - 9)],
    "two clusters": np.r_[np.full(16, 3.0), np.full(16, -1.0)],
}
OUTLIERS = np.r_[-6, -3, np.linspace(-0.02, 0.04, 18), np.linspace(1, 3, 10), 30, 31]


def breakdown(name, dtype=float):
    """The matrix of this name in a rotated basis; "zero block" has rows of zeros, like a network
    with dead units."""
    eigenvalues = BREAKDOWN["rank 9" if name == "zero block" else name]
    array = rotated(eigenvalues)
    if name == "zero block":
        array = np.zeros((DIM, DIM))
        array[:9, :9] = rotated(eigenvalues[:9])
    return Matrix(jnp.asarray(array, dtype)), eigenvalues


class Factored(AbstractOperator):
    """F F^T, which has a Gram matrix."""

    factor: jax.Array

    @property
    def structure(self):
        return jax.ShapeDtypeStruct(self.factor.shape[:1], self.factor.dtype)

    def product(self):
        return lambda v: jnp.matmul(self.factor, v @ self.factor, precision="highest")

    def gram(self):
        return Matrix(self.factor.T @ self.factor)


def factored(eigenvalues):
    """F F^T with these eigenvalues; F has one column for each nonzero one."""
    some = np.flatnonzero(eigenvalues)
    root = rotation(len(eigenvalues))[:, some] * np.sqrt(np.asarray(eigenvalues)[some])
    return Factored(jnp.asarray(root @ rotation(len(some))))


def rows(**wanted):
    """The rows of the table in both precisions, one of them in the quick tests."""
    found = []
    for name, row in ESTIMATORS.items():
        if all(getattr(row, w) == wanted[w] for w in wanted):
            for precision in ("float32", "float64"):
                marks = () if row.quick == precision else pytest.mark.slow
                found.append(pytest.param(row, precision, id=f"{name}-{precision}", marks=marks))
    return pytest.mark.parametrize(("row", "precision"), found)


@pytest.fixture(autouse=True)
def double(request):
    """Double precision, unless the test runs a row in single precision."""
    single = getattr(request.node, "callspec", None)
    single = single is not None and single.params.get("precision") == "float32"
    with contextlib.nullcontext() if single else jax.enable_x64(True):
        yield


def basis(name):
    """The eigenvectors of a matrix of `breakdown`."""
    if name != "zero block":
        return rotation(DIM)
    vectors = np.eye(DIM)
    vectors[:9, :9] = rotation(9)
    return vectors


def starts(estimator, key):
    """The random vectors of an estimator."""
    draw = lambda i: estimator.distribution(DIM, float, key=vector_key(key, i))
    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(estimator.num_vectors)))


@rows(guarded=True, gram=False)
def test_krylov_spaces_that_end(row, precision, getkey):
    key = getkey()
    for name in (*BREAKDOWN, "zero block"):
        operator, eigenvalues = breakdown(name, precision)
        spectrum = row.estimator(operator, key=key)
        found = summary(spectrum, 0.5)
        (rank,), (low, high) = found.ranks, found.range
        assert all(np.isfinite(x).all() for x in found[1:]), name
        assert (found.weights >= 0).all(), name
        beyond = np.abs(eigenvalues) > 0.5
        if row.exact:
            counts = [rank.lower, rank.value, rank.upper]
            np.testing.assert_allclose(counts, beyond.sum(), 1e-5, 1e-5, err_msg=name)
        else:
            vectors = basis(name)[:, beyond]
            expected = DIM * np.mean(np.sum((starts(row.estimator, key) @ vectors) ** 2, axis=1))
            rtol = 1e-4 if row.bounds else 0.02
            np.testing.assert_allclose(rank.value, expected, rtol, 1e-3, err_msg=name)
        if row.bounds:
            np.testing.assert_allclose([rank.lower, rank.upper], rank.value, 1e-5, 1e-5)
        # No eigenvalue is found that does not exist.
        rounding = 1e-4 * np.abs(eigenvalues).max() + 1e-18
        assert abs(low - eigenvalues.min()) <= rounding, name
        assert abs(high - eigenvalues.max()) <= rounding, name


def test_the_gram_matrix_has_all_eigenvalues_of_low_rank(getkey):
    eigenvalues = BREAKDOWN["rank 9 positive"]
    spectrum = ESTIMATORS["gram"].estimator(factored(eigenvalues), key=getkey())
    found = summary(spectrum, 1e-3)
    (rank,) = found.ranks
    np.testing.assert_allclose([rank.lower, rank.value, rank.upper], 9, rtol=1e-5)
    np.testing.assert_allclose(DIM * found.squares, np.sum(eigenvalues**2), 1e-5)


@rows(gram=False)
def test_nan(row, precision, getkey):
    operator = Matrix(jnp.asarray(np.full((DIM, DIM), np.nan, precision)))
    spectrum = row.estimator(operator, key=getkey())
    found = summary(spectrum, 0.1)
    (rank,) = found.ranks
    assert np.isnan([rank.value, rank.lower, rank.upper, rank.sem]).all()
    assert not rank.resolved
    assert np.isnan(found.range).all()


def test_matfree_misses_the_end_of_the_krylov_space(getkey):
    # Its docstring warns of this. If this test fails, matfree has learned it.
    estimator = ESTIMATORS["matfree"].estimator
    spectrum = estimator(breakdown("zero")[0], key=getkey())
    assert np.isnan(spectrum.nodes).any()
    assert np.isnan(ranks(spectrum, 0.1)[0].value)
    operator, _ = breakdown("zero block")
    spectrum = estimator(operator, key=getkey())
    assert not spectrum.exhausted.any()
    found = summary(spectrum, 0.5)
    (rank,), (low, high) = found.ranks, found.range
    assert low < -100
    assert high > 100
    assert np.sum(np.abs(spectrum.nodes) > 0.5, axis=1).max() > 12  # of 9
    # Weighted counts are still right.
    assert abs(rank.value - 9) <= 5 * rank.sem


def mean_error(x, y, model):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


@pytest.mark.slow
@rows(guarded=True, gram=False)
def test_a_network_with_dead_hidden_units(row, precision, getkey):
    x, y = jax.random.normal(getkey(), (8, 3)), jax.random.normal(getkey(), (8, 2))
    model = eqx.nn.MLP(3, 2, 6, 2, key=getkey())
    biases = lambda m: [layer.bias for layer in m.layers[:2]]
    dead = eqx.tree_at(biases, model, [jnp.full(6, -100.0)] * 2)
    spectrum = row.estimator(Hessian(Partial(mean_error, x, y), dead), key=getkey())
    found = summary(spectrum, 0.5)
    assert all(np.isfinite(x).all() for x in found[1:])
    (rank,) = found.ranks  # the Hessian in the last bias is the identity
    if row.exact:
        np.testing.assert_allclose([rank.lower, rank.value, rank.upper], 2, rtol=1e-5)
    else:
        # With Rademacher vectors, the standard error is only rounding.
        assert abs(rank.value - 2) <= 5 * rank.sem + 1e-4
    np.testing.assert_allclose(found.range, [0, 1], atol=1e-3)


@rows(gram=False)
def test_estimates_agree_with_the_dense_matrix(row, precision, getkey):
    spectrum = row.estimator(matrix(OUTLIERS, precision), key=getkey())
    assert spectrum.dim == DIM
    found = summary(spectrum, 0.5, 10)
    np.testing.assert_allclose(np.mean(np.sum(found.weights, axis=1)), 1, rtol=0.3)
    np.testing.assert_allclose(found.range, [-6, 31], rtol=1e-3)
    rounding = 1e-9 if precision == "float64" else 1e-5
    # Chebyshev resolves a 200th of the whole range.
    for rank, truth in zip(found.ranks, (14, 2), strict=True):
        left_open = (rank.upper - rank.lower) if row.bounds else 1.0
        sem = 0 if np.isnan(rank.sem) else rank.sem
        assert abs(rank.value - truth) <= 4 * sem + left_open + rounding
        if row.exact:
            # Deflated may leave some of them to its vectors, but never the outliers.
            assert abs(rank.value - truth) <= (1.0 if truth == 14 else rounding)
    means = found.squares
    sem = np.std(means, ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0
    assert abs(np.mean(means) - np.mean(OUTLIERS**2)) <= 5 * sem + 1e-2


@rows(gram=False)
def test_vectors_and_keys(row, precision, getkey):
    """The same key gives the same spectrum, and another key gives another one."""
    operator, key = matrix(OUTLIERS, precision), getkey()
    first = jax.tree.leaves(row.estimator(operator, key=key))
    again = jax.tree.leaves(row.estimator(operator, key=key))
    other = row.estimator(operator, key=getkey())
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, again, strict=True))
    num_vectors = getattr(row.estimator, "num_vectors", 1)
    nodes, weights = map(np.asarray, other.quadrature())
    assert nodes.shape[0] == num_vectors
    if num_vectors > 1:
        values = np.round(np.sum(weights * np.cos(100 * nodes), axis=1), 4)
        assert len(np.unique(values)) == num_vectors


@rows(gram=False)
def test_a_power_of_two_changes_no_digit(row, precision, getkey):
    """Nothing depends on the units of the loss. With squares of entries as they are, float32 would
    end at 2^-63 and 2^63, and float64 at 2^-511 and 2^511."""
    rng, key = np.random.default_rng(3), getkey()
    powers = (-100, 100, *rng.integers(-100, 101, 3))
    for power in powers if precision == "float32" else (-700, *powers, 700):
        array = rotated(rng.normal(size=DIM) * 10 ** rng.uniform(-4, 0, DIM)).astype(precision)
        find = lambda p, a=array: row.estimator(Matrix(jnp.asarray(np.ldexp(a, p))), key=key)
        check_scaled(find(int(power)), find(0), int(power))


@rows(gram=False)
def test_permuted_parameters(row, precision, getkey):
    # The random vectors differ then, so the answers agree within their error.
    order = np.random.default_rng(0).permutation(DIM)
    operator = matrix(OUTLIERS, precision)
    permuted = Matrix(jnp.asarray(np.asarray(operator.array)[order][:, order]))
    found = [ranks(row.estimator(o, key=getkey()), 0.5)[0] for o in (operator, permuted)]
    sems = [0 if np.isnan(r.sem) else float(r.sem) for r in found]
    assert abs(found[0].value - found[1].value) <= 5 * sum(sems) + 1e-3


def test_dense_has_every_eigenvalue(getkey):
    spectrum = Dense()(matrix(OUTLIERS), key=getkey())
    np.testing.assert_allclose(spectrum.nodes[0], np.sort(OUTLIERS), atol=1e-12)
    np.testing.assert_allclose(spectrum.weights, 1 / DIM)
    found = summary(spectrum, 30.0)
    np.testing.assert_allclose(found.squares, [np.mean(OUTLIERS**2)], rtol=1e-12)
    # A threshold at an eigenvalue counts as on both sides of it.
    (rank,) = found.ranks
    np.testing.assert_allclose([rank.lower, rank.upper], [1, 2], rtol=1e-9)


@pytest.mark.parametrize("columns", [5, 12, 30])
def test_gram_has_the_spectrum_of_the_large_matrix(columns, getkey):
    factor = np.random.default_rng(columns).normal(size=(12, columns))
    spectrum = GramEigh()(Factored(jnp.asarray(factor)), key=getkey())
    assert spectrum.dim == 12
    np.testing.assert_allclose(np.sum(spectrum.weights), 1, rtol=1e-12)
    expected = np.linalg.eigvalsh(factor @ factor.T)
    counts = np.round(12 * np.asarray(spectrum.weights[0])).astype(int)
    nodes = np.repeat(np.asarray(spectrum.nodes[0]), counts)
    np.testing.assert_allclose(np.sort(nodes), expected, atol=1e-12)


def test_matfree_agrees_with_lanczos(getkey):
    operator, key = matrix(OUTLIERS), getkey()
    ours, theirs = (e(order=20)(operator, key=key) for e in (Lanczos, MatfreeLanczos))
    for name in ("nodes", "weights", "residuals", "diagonal", "off_diagonal"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), 1e-6, 1e-9)
    assert theirs.gauss
    assert not theirs.exhausted.any()


@pytest.mark.parametrize(
    "order", [100, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_chebyshev_smooths_each_eigenvalue_with_jacksons_kernel(order, getkey):
    key = getkey()
    spectrum = Chebyshev(order=order)(matrix(OUTLIERS), key=key)
    size = 2 * order
    angles = np.pi * (np.arange(size)[::-1] + 0.5) / size
    scaled, nodes = np.cos(angles), np.asarray(spectrum.nodes)
    half = (nodes[:, -1] - nodes[:, 0]) / (scaled[-1] - scaled[0])
    centre = nodes[:, 0] - half * scaled[0]
    np.testing.assert_allclose(nodes, centre[:, None] + half[:, None] * scaled, atol=1e-9)
    # All eigenvalues lie inside, by at most the residual of a converged Ritz pair.
    np.testing.assert_allclose([centre[0] - half[0], centre[0] + half[0]], [-6, 31], atol=1e-3)
    assert centre[0] - half[0] <= -6
    assert centre[0] + half[0] >= 31
    # The kernel is the square of the polynomial with these coefficients, shifted and averaged.
    root = np.sin(np.pi * np.arange(1, size + 1) / (size + 1))
    factors = np.array([root[: size - k] @ root[k:] for k in range(size)]) / (root @ root)
    positions = np.arccos((OUTLIERS - centre[0]) / half[0])
    orders = np.arange(size)
    twice = np.where(orders == 0, 1, 2) * factors
    kernel = np.cos(np.outer(angles, orders)) * twice @ np.cos(np.outer(orders, positions)) / size
    for index in range(3):
        seen = np.asarray(rotation(DIM).T @ sphere_vector(key, index, DIM, float)) ** 2
        np.testing.assert_allclose(spectrum.weights[index], kernel @ seen, atol=1e-10)
    assert not spectrum.gauss
    (rank,) = ranks(spectrum, 1.0)
    np.testing.assert_allclose([rank.lower, rank.upper], [0, DIM], rtol=1e-9)


def test_chebyshev_is_nan_if_it_missed_the_range(getkey):
    # The first iteration starts orthogonal to the eigenvector of the outlier.
    key = getkey()
    start = np.asarray(sphere_vector(key, BEFORE_VECTORS, DIM, float))
    outlier = rotation(DIM)[:, 0] - (rotation(DIM)[:, 0] @ start) * start
    basis = np.linalg.qr(np.c_[outlier, rotation(DIM)[:, 1:]])[0]
    array = (basis * np.r_[1.3, np.linspace(0, 1, DIM - 1)]) @ basis.T
    spectrum = ESTIMATORS["chebyshev"].estimator(Matrix(jnp.asarray(array)), key=key)
    assert np.isnan(spectrum.nodes).all()
    assert np.isnan(ranks(spectrum, 0.1)[0].value)


def deflated(accuracy):
    """The estimator of the table with another accuracy, which compiles nothing."""
    accuracy = jnp.asarray(accuracy, jnp.float32)
    return eqx.tree_at(lambda e: e.accuracy, ESTIMATORS["deflated"].estimator, accuracy)


def test_deflated_combines_known_and_estimated_eigenvalues(getkey):
    key = getkey()
    spectrum = deflated(1e-8)(matrix(OUTLIERS), key=key)
    known = np.asarray(spectrum.values)[np.asarray(spectrum.known)]
    assert 4 <= len(known) < 20
    distance = np.abs(known[:, None] - OUTLIERS).min(axis=1)
    assert distance.max() <= spectrum.margin
    # The margin is the norm of all residuals, plus rounding of 10 eps max ||A q||.
    residuals = np.asarray(spectrum.residuals)[np.asarray(spectrum.known)]
    rounding = float(spectrum.margin) - np.linalg.norm(residuals)
    assert 15 < rounding / (10 * np.finfo(float).eps) < 32
    # The others, in the complement of the eigenvectors of the known ones.
    left = np.abs(OUTLIERS[:, None] - known).min(axis=1) > 1e-6
    assert left.sum() == DIM - len(known)
    moments = eqx.filter_jit(lambda s: [s.mean(lambda x, p=p: x**p) for p in range(1, 6)])(spectrum)
    for index in range(3):
        seen = np.asarray(rotation(DIM).T @ sphere_vector(key, index, DIM, float)) ** 2 * left
        weights = np.where(left, (DIM - len(known)) * seen / seen.sum(), 1) / DIM
        for power, moment in enumerate(moments, start=1):
            expected = np.sum(weights * OUTLIERS**power)
            np.testing.assert_allclose(moment[index], expected, rtol=1e-8)
    nodes, weights = map(np.asarray, spectrum.quadrature())
    assert (np.diff(nodes, axis=1) >= 0).all()
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.sum(weights * nodes, axis=1), moments[0])
    np.testing.assert_allclose(spectrum.mean(jnp.sign), np.sum(weights * np.sign(nodes), axis=1))


def test_a_looser_accuracy_knows_more_and_bounds_less(getkey):
    key, operator = getkey(), matrix(OUTLIERS)
    tight, loose = (deflated(a)(operator, key=key) for a in (1e-9, 1e-2))
    assert np.sum(loose.known) > np.sum(tight.known)
    assert loose.margin > tight.margin
    # Removed pairs do not come back, although their vectors are eigenvectors only to a hundredth.
    np.testing.assert_allclose(np.asarray(loose.values)[loose.known][-2:], [30, 31], rtol=1e-3)
    assert loose.rest.nodes.max() < 4
    # A threshold within the margin of a known eigenvalue is open on both sides.
    threshold = float(tight.values[-1]) - float(loose.margin) / 2
    mass_above = eqx.filter_jit(lambda s, t: s.mass_above(t))
    above = mass_above(loose, threshold)
    assert above.upper[0] - above.lower[0] > 0.9 / DIM
    np.testing.assert_allclose(mass_above(tight, threshold).lower, above.value, rtol=1e-9)


def check_extremes(spectrum, eigenvalues, count):
    ends, truth = extremes(spectrum, count=count), np.sort(eigenvalues)
    for values, residuals, expected in (
        (ends.largest, ends.largest_residuals, truth[::-1][:count]),
        (ends.smallest, ends.smallest_residuals, truth[:count]),
    ):
        np.testing.assert_allclose(values, expected, atol=1e-6)
        assert (np.abs(values - expected) <= residuals + 1e-12).all()


@pytest.mark.slow
def test_everything_can_be_deflated(getkey):
    eigenvalues = np.linspace(1, 2, 8)
    spectrum = Deflated(order=5, deflation_order=8)(matrix(eigenvalues), key=getkey())
    assert spectrum.known.all()
    found = summary(spectrum, 1.0)
    np.testing.assert_allclose(found.range, [1, 2], rtol=1e-5)
    np.testing.assert_allclose(found.squares, np.mean(eigenvalues**2), 1e-4)
    check_extremes(spectrum, eigenvalues, 5)


def test_fewer_dimensions_are_left_than_the_order(getkey):
    # 20 of 32 eigenvalues are deflated, so 12 are left for an order of 14.
    estimator = ESTIMATORS["deflated"].estimator
    some = np.r_[np.full(DIM - 5, 10.0), np.full(5, 0.3)]
    spectrum = estimator(matrix(some), key=getkey())
    assert spectrum.known.all()
    (rank,) = ranks(spectrum, 1.0)
    np.testing.assert_allclose([rank.lower, rank.value, rank.upper], DIM - 5, rtol=1e-9)
    np.testing.assert_allclose(spectrum.rest.nodes, 10, rtol=1e-9)
    many = np.r_[np.linspace(-1, 1, 8), np.zeros(18), -40.0, -30.0, 10.0, 20.0, 30.0, 40.0]
    spectrum = estimator(matrix(many), key=getkey())
    assert 2 < np.sum(spectrum.known) <= 20
    check_extremes(spectrum, many, 14)


class Tree(eqx.Module):
    """A matrix that acts on a pytree of two arrays."""

    array: jax.Array

    def __call__(self, v):
        flat = self.array @ jnp.concatenate([v["a"].ravel(), v["b"]])
        return {"a": flat[:20].reshape(4, 5), "b": flat[20:]}


def test_extreme_eigenpairs(getkey):
    like = {"a": jax.ShapeDtypeStruct((4, 5), float), "b": jax.ShapeDtypeStruct((12,), float)}
    find = lambda eigenvalues: extreme_eigenpairs(
        Function(Tree(jnp.asarray(rotated(eigenvalues))), like), count=2, key=getkey(), order=20
    )
    array, pairs = rotated(OUTLIERS), find(OUTLIERS)
    for end, values in ((pairs.smallest, [-6, -3]), (pairs.largest, [31, 30])):
        np.testing.assert_allclose(end.values, values, rtol=1e-9)
        assert end.vectors["a"].shape == (2, 4, 5)
        for i, value in enumerate(values):
            own = np.concatenate([np.ravel(end.vectors["a"][i]), end.vectors["b"][i]])
            overlap = rotation(DIM)[:, np.argmin(np.abs(OUTLIERS - value))] @ own
            np.testing.assert_allclose(abs(overlap), 1, rtol=1e-9)
            residual = np.linalg.norm(array @ own - float(end.values[i]) * own)
            np.testing.assert_allclose(end.residuals[i], residual, atol=1e-12)
    # Before it has converged, the residual bounds the error.
    uniform = np.linspace(-1, 1, DIM)
    rough = find(uniform).largest
    assert rough.residuals[1] > 1e-3
    assert np.abs(uniform - float(rough.values[1])).min() <= rough.residuals[1]
    # In units of 2^-530, whose squares float64 has no number for.
    small = find(2.0**-530 * OUTLIERS)
    np.testing.assert_allclose(np.ldexp(small.largest.values, 530), [31, 30], rtol=1e-9)
    assert 0 < np.ldexp(np.max(small.largest.residuals), 530) < 1e-5
    # A restart finds the second copy of a multiple eigenvalue.
    twice = find(np.r_[5.0, 5.0, np.zeros(DIM - 2)])
    np.testing.assert_allclose(twice.largest.values, [5, 5], atol=1e-9)


def test_defaults():
    assert (Lanczos().num_vectors, Chebyshev().num_vectors, Deflated().num_vectors) == (3, 3, 3)
    assert (Chebyshev().order, Dense().limit, GramEigh().limit) == (100, 5000, 10_000)
    assert float(Deflated().accuracy) == 1e-5


def test_numpy_integers_are_integers(getkey):
    # As `Any`, because a type checker wants integers of Python.
    two: Any = np.int64(2)
    five: Any = np.uint8(5)
    quick: list[Any] = [
        Lanczos(order=five, num_vectors=two),
        MatfreeLanczos(order=five, num_vectors=two),
    ]
    quick += [Chebyshev(order=five, num_vectors=two, range_order=two), Dense(limit=five)]
    quick += [Deflated(order=five, num_vectors=two, deflation_order=two), GramEigh(limit=five)]
    quick += [Hutchinson(num_samples=two), HutchinsonDiagonal(num_samples=two)]
    quick += [kind(num_samples=two) for kind in (XTrace, XNysTrace, XDiagonal, XNysDiagonal)]
    for estimator in quick:
        sizes = [getattr(estimator, f.name) for f in dataclasses.fields(estimator)]
        assert not any(isinstance(size, np.generic) for size in sizes), estimator
    assert type(order_within("order", five, 9, default=3)) is int
    operator = matrix(OUTLIERS)
    find = lambda key: extreme_eigenpairs(operator, count=two, order=np.int64(4), key=key)
    assert jax.eval_shape(find, getkey()).largest.values.shape == (2,)
    ends = extremes(Dense()(operator, key=getkey()), count=two)
    np.testing.assert_allclose(ends.largest, [31, 30])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lanczos(order=11), "`order` is 11, but must be at most 10"),
        (lambda: MatfreeLanczos(order=11), "`order` is 11, but must be at most 10"),
        (lambda: Deflated(order=11), "`order` is 11, but must be at most 10"),
        (lambda: Deflated(deflation_order=11), "`deflation_order` is 11, but must be at most 10"),
        (lambda: Chebyshev(range_order=11), "`range_order` is 11, but must be at most 10"),
        (lambda: Dense(limit=9), "10 rows, but `limit` is 9, .*`Lanczos"),
        (lambda: Partial(extreme_eigenpairs, order=11), "`order` is 11, but must be at most 10"),
        (lambda: Partial(extreme_eigenpairs, count=11), "`count` is 11, but must be at most 10"),
        (lambda: Partial(extreme_eigenpairs, count=0), "`count` is 0, .* at least 1"),
        (lambda: Partial(extreme_eigenpairs, order=0), "`order` is 0, .* at least 1"),
        (lambda: Lanczos(order=0), "`order` is 0, .* at least 1"),
        (lambda: Lanczos(num_vectors=-1), "`num_vectors` is -1, .* at least 1"),
        (lambda: MatfreeLanczos(num_vectors=0), "`num_vectors` is 0, .* at least 1"),
        (lambda: MatfreeLanczos(order=0), "`order` is 0, .* at least 1"),
        (lambda: Chebyshev(order=0), "`order` is 0, .* at least 1"),
        (lambda: Chebyshev(num_vectors=0), "`num_vectors` is 0, .* at least 1"),
        (lambda: Chebyshev(range_order=0), "`range_order` is 0, .* at least 1"),
        (lambda: Deflated(order=0), "`order` is 0, .* at least 1"),
        (lambda: Deflated(deflation_order=0), "`deflation_order` is 0, .* at least 1"),
        (lambda: Deflated(num_vectors=0), "`num_vectors` is 0, .* at least 1"),
        (lambda: Deflated(accuracy=0.0), "`accuracy` is 0.0, .* above 0"),
        (lambda: Dense(limit=0), "`limit` is 0, .* at least 1"),
        (lambda: GramEigh(limit=0), "`limit` is 0, .* at least 1"),
    ],
)
def test_bad_arguments(make, message):
    operator = Matrix(np.eye(10))
    with pytest.raises(ValueError, match=message):
        make()(operator, key=jax.random.key(0))


def test_operators_without_a_gram_matrix_or_with_a_large_one():
    with pytest.raises(TypeError, match="A Matrix has no Gram matrix, .*`GaussNewton`"):
        GramEigh()(Matrix(np.eye(3)), key=jax.random.key(0))
    with pytest.raises(ValueError, match="Gram matrix has 4 rows .* `limit` is 3"):
        GramEigh(limit=3)(Factored(jnp.asarray(np.ones((9, 4)))), key=jax.random.key(0))
