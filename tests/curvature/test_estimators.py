"""Every estimator against dense matrices in randomly rotated bases, and where matrices are hard."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from tables import ESTIMATORS

from spectral.curvature import (
    AbstractOperator,
    Chebyshev,
    Deflated,
    Dense,
    epsilon_rank,
    extreme_eigenpairs,
    Function,
    GramEigh,
    Hessian,
    Lanczos,
    MatfreeLanczos,
    Matrix,
    sphere_vector,
)


DIM = 60
BREAKDOWN = {
    "zero": np.zeros(DIM),
    "identity": np.ones(DIM),
    "rank 1": np.r_[23.15, np.zeros(DIM - 1)],
    "rank 9": np.r_[-4, np.linspace(2, 23.15, 8), np.zeros(DIM - 9)],
    "rank 9 positive": np.r_[np.linspace(2, 23.15, 9), np.zeros(DIM - 9)],
    "two clusters": np.r_[np.full(30, 3.0), np.full(30, -1.0)],
}


def breakdown(name):
    """The matrix of this name in a rotated basis; and rows of zeros, as dead units leave them."""
    eigenvalues = BREAKDOWN["rank 9" if name == "zero block" else name]
    if name != "zero block":
        return matrix(eigenvalues), eigenvalues
    block = matrix(eigenvalues[:9]).array
    return Matrix(jnp.zeros((DIM, DIM)).at[:9, :9].set(block)), eigenvalues


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


def rotation(dim):
    return np.linalg.qr(np.random.default_rng(dim).normal(size=(dim, dim)))[0]


def matrix(eigenvalues, dtype=None):
    vectors = rotation(len(eigenvalues))
    return Matrix(jnp.asarray((vectors * eigenvalues) @ vectors.T, dtype))


def factored(eigenvalues, dtype=None):
    """With the nonzero eigenvalues alone as columns, in a rotated basis of their own."""
    some = np.flatnonzero(eigenvalues)
    root = rotation(len(eigenvalues))[:, some] * np.sqrt(np.asarray(eigenvalues)[some])
    return Factored(jnp.asarray(root @ rotation(len(some)), dtype))


def rows(**wanted):
    chosen = {
        n: r for n, r in ESTIMATORS.items() if all(getattr(r, w) == wanted[w] for w in wanted)
    }
    return pytest.mark.parametrize("row", chosen.values(), ids=chosen)


def arrays(spectrum):
    return [np.asarray(x) for x in (*spectrum.quadrature(), *spectrum.range())]


@rows(guarded=True, gram=False)
def test_matrices_whose_krylov_space_ends(row, getkey):
    key = getkey()
    for name in (*BREAKDOWN, "zero block"):
        operator, eigenvalues = breakdown(name)
        spectrum = row.estimator(operator, key=key)
        rank = epsilon_rank(spectrum, 0.5)
        assert all(np.isfinite(x).all() for x in arrays(spectrum)), name
        _, weights = spectrum.quadrature()
        assert (weights >= 0).all(), name
        truth = np.sum(np.abs(eigenvalues) > 0.5)
        if row.exact:
            np.testing.assert_allclose([rank.lower, rank.value, rank.upper], truth, 1e-5, 1e-5)
        else:
            assert abs(rank.value - truth) <= 5 * rank.sem + 1e-3, name
        if row.bounds:
            np.testing.assert_allclose([rank.lower, rank.upper], rank.value, 1e-5, 1e-5)
        # Nothing is seen that is not there.
        rounding = 1e-4 * np.abs(eigenvalues).max() + 1e-18
        low, high = spectrum.range()
        assert abs(low - eigenvalues.min()) <= rounding, name
        assert abs(high - eigenvalues.max()) <= rounding, name


def test_the_gram_matrix_knows_all_eigenvalues_of_low_rank(getkey):
    row = ESTIMATORS["gram"]
    for name in ("rank 1", "rank 9 positive"):
        eigenvalues = BREAKDOWN[name]
        spectrum = row.estimator(factored(eigenvalues), key=getkey())
        rank = epsilon_rank(spectrum, 1e-3)
        np.testing.assert_allclose(
            [rank.lower, rank.value, rank.upper], np.sum(eigenvalues > 0), rtol=1e-5
        )
        np.testing.assert_allclose(DIM * spectrum.mean(jnp.square), np.sum(eigenvalues**2), 1e-5)


@rows(gram=False)
def test_a_matrix_that_is_not_finite_shows(row, getkey):
    spectrum = row.estimator(Matrix(jnp.full((DIM, DIM), jnp.nan)), key=getkey())
    rank = epsilon_rank(spectrum, 0.1)
    assert np.isnan([rank.value, rank.lower, rank.upper, rank.sem]).all()
    assert not rank.resolved
    assert np.isnan(spectrum.range()).all()


def test_matfree_does_not_notice_the_end_of_the_krylov_space(getkey):
    # What its docstring warns of. Should this fail, matfree has learned it.
    estimator = ESTIMATORS["matfree"].estimator
    spectrum = estimator(matrix(BREAKDOWN["zero"]), key=getkey())
    assert np.isnan(spectrum.nodes).any()
    assert np.isnan(epsilon_rank(spectrum, 0.1).value)
    operator, _ = breakdown("zero block")
    spectrum = estimator(operator, key=getkey())
    assert not spectrum.exhausted.any()
    low, high = spectrum.range()
    assert low < -100
    assert high > 100
    assert np.sum(np.abs(spectrum.nodes) > 0.5, axis=1).max() > 30  # of 9
    # Only weighted counts survive.
    rank = epsilon_rank(spectrum, 0.5)
    assert abs(rank.value - 9) <= 5 * rank.sem


def dead_network(key):
    """A ReLU network all of whose hidden units are dead: only the last bias matters."""
    model = eqx.nn.MLP(3, 2, 6, 2, key=key)
    biases = lambda m: [layer.bias for layer in m.layers[:2]]
    return eqx.tree_at(biases, model, [jnp.full(6, -100.0)] * 2)


def mean_error(x, y, model):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


@rows(guarded=True, gram=False)
def test_a_network_whose_hidden_units_are_all_dead(row, getkey):
    x, y = jax.random.normal(getkey(), (8, 3)), jax.random.normal(getkey(), (8, 2))
    hessian = Hessian(Partial(mean_error, x, y), dead_network(getkey()))
    spectrum = row.estimator(hessian, key=getkey())
    assert all(np.isfinite(x).all() for x in arrays(spectrum))
    rank = epsilon_rank(spectrum, 0.5)  # the Hessian in the last bias is the identity
    if row.exact:
        np.testing.assert_allclose([rank.lower, rank.value, rank.upper], 2, rtol=1e-5)
    else:
        # Rademacher see each coordinate alike: their standard error is that of rounding.
        assert abs(rank.value - 2) <= 5 * rank.sem + 1e-4
    np.testing.assert_allclose(spectrum.range(), [0, 1], atol=1e-3)


OUTLIERS = np.r_[-6, -3, np.linspace(-0.02, 0.04, 46), np.linspace(1, 3, 10), 30, 31]


@pytest.mark.usefixtures("float64")
@rows(gram=False)
def test_estimates_agree_with_the_dense_matrix_within_their_error(row, getkey):
    operator = matrix(OUTLIERS, float)
    spectrum = row.estimator(operator, key=getkey())
    assert spectrum.dim == DIM
    np.testing.assert_allclose(np.mean(np.sum(spectrum.quadrature()[1], axis=1)), 1, rtol=0.3)
    np.testing.assert_allclose(spectrum.range(), [-6, 31], rtol=1e-3)
    # Chebyshev resolves a 200th of the whole range.
    for epsilon, truth in ((0.5, 14), (10, 2)):
        rank = epsilon_rank(spectrum, epsilon)
        left_open = (rank.upper - rank.lower) if row.bounds else 1.0
        sem = 0 if np.isnan(rank.sem) else rank.sem
        assert abs(rank.value - truth) <= 4 * sem + left_open + 1e-9
        if row.exact:
            # Deflated may have to leave some of them to its probes, never the outliers.
            assert abs(rank.value - truth) <= (1.0 if epsilon < 1 else 1e-9)
    means = np.asarray(spectrum.mean(jnp.square))
    sem = np.std(means, ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0
    assert abs(np.mean(means) - np.mean(OUTLIERS**2)) <= 5 * sem + 1e-2


@rows(gram=False)
def test_probes_and_keys(row, getkey):
    """The same key gives the same, another key something else, and the program is compiled once."""
    operator, key = matrix(OUTLIERS), getkey()
    first = jax.tree.leaves(row.estimator(operator, key=key))
    again = jax.tree.leaves(row.estimator(operator, key=key))
    other = row.estimator(operator, key=getkey())
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, again, strict=True))
    probes = getattr(row.estimator, "num_vectors", 1)
    assert other.quadrature()[0].shape[0] == probes
    if probes > 1:
        values = np.round(other.mean(lambda x: jnp.cos(100 * x)), 4)
        assert len(np.unique(values)) == probes


@rows(gram=False)
def test_permuted_parameters_change_no_answer(row, getkey):
    # The probes are other vectors then: the answers agree within their error.
    order = np.random.default_rng(0).permutation(DIM)
    operator = matrix(OUTLIERS)
    permuted = Matrix(operator.array[order][:, order])
    ranks = [epsilon_rank(row.estimator(o, key=getkey()), 0.5) for o in (operator, permuted)]
    sems = [0 if np.isnan(r.sem) else float(r.sem) for r in ranks]
    assert abs(ranks[0].value - ranks[1].value) <= 5 * sum(sems) + 1e-3


@pytest.mark.usefixtures("float64")
def test_dense_is_every_eigenvalue(getkey):
    spectrum = Dense()(matrix(OUTLIERS, float), key=getkey())
    np.testing.assert_allclose(spectrum.nodes[0], np.sort(OUTLIERS), atol=1e-12)
    np.testing.assert_allclose(spectrum.weights, 1 / DIM)
    np.testing.assert_allclose(spectrum.mean(jnp.exp), [np.mean(np.exp(OUTLIERS))], rtol=1e-12)
    # A threshold at an eigenvalue counts as on both sides of it.
    rank = epsilon_rank(spectrum, 30.0)
    np.testing.assert_allclose([rank.lower, rank.upper], [1, 2], rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("columns", [5, 12, 30])
def test_gram_has_the_spectrum_of_the_large_matrix(columns, getkey):
    factor = jax.random.normal(getkey(), (12, columns))
    spectrum = GramEigh()(Factored(factor), key=getkey())
    assert spectrum.dim == 12
    np.testing.assert_allclose(np.sum(spectrum.weights), 1, rtol=1e-12)
    expected = np.linalg.eigvalsh(factor @ factor.T)
    nodes = np.repeat(spectrum.nodes[0], np.round(12 * spectrum.weights[0]).astype(int))
    np.testing.assert_allclose(np.sort(nodes), expected, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_matfree_sees_what_lanczos_sees(getkey):
    operator, key = matrix(OUTLIERS, float), getkey()
    ours, theirs = (e(order=12)(operator, key=key) for e in (Lanczos, MatfreeLanczos))
    for name in ("nodes", "weights", "residuals", "diagonal", "off_diagonal"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), 1e-6, 1e-9)
    assert theirs.gauss
    assert not theirs.exhausted.any()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", [1, 2, 15])
def test_chebyshev_smooths_each_eigenvalue_with_jacksons_kernel(order, getkey):
    key = getkey()
    spectrum = Chebyshev(order=order, num_vectors=2, range_order=30)(
        matrix(OUTLIERS, float), key=key
    )
    size = 2 * order
    angles = np.pi * (np.arange(size)[::-1] + 0.5) / size
    scaled, nodes = np.cos(angles), np.asarray(spectrum.nodes)
    half = (nodes[:, -1] - nodes[:, 0]) / (scaled[-1] - scaled[0])
    centre = nodes[:, 0] - half * scaled[0]
    np.testing.assert_allclose(nodes, centre[:, None] + half[:, None] * scaled, atol=1e-9)
    # All eigenvalues lie inside, by no more than the residual of a converged Ritz pair.
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
    for probe in range(2):
        seen = np.asarray(rotation(DIM).T @ sphere_vector(key, probe, DIM, float)) ** 2
        np.testing.assert_allclose(spectrum.weights[probe], kernel @ seen, atol=1e-10)
    assert not spectrum.gauss
    rank = epsilon_rank(spectrum, 1.0)
    np.testing.assert_allclose([rank.lower, rank.upper], [0, DIM], rtol=1e-9)


def test_chebyshev_says_when_it_missed_the_range(getkey):
    operator = matrix(np.r_[1000.0, np.linspace(0, 1, DIM - 1)])
    spectrum = Chebyshev(range_order=1)(operator, key=getkey())
    assert np.isnan(spectrum.nodes).all()
    assert np.isnan(epsilon_rank(spectrum, 0.1).value)
    assert np.isfinite(Chebyshev(range_order=4)(operator, key=getkey()).nodes).all()


@pytest.mark.usefixtures("float64")
def test_deflated_adds_what_it_knows_to_what_it_estimates(getkey):
    key = getkey()
    spectrum = Deflated(order=20, num_vectors=2, deflation_order=20, accuracy=1e-8)(
        matrix(OUTLIERS, float), key=key
    )
    known = np.asarray(spectrum.values)[np.asarray(spectrum.known)]
    assert 4 <= len(known) < 20
    distance = np.abs(known[:, None] - OUTLIERS).min(axis=1)
    assert distance.max() <= spectrum.margin
    # Those that are left, in the complement of the eigenvectors of the known ones.
    left = np.abs(OUTLIERS[:, None] - known).min(axis=1) > 1e-6
    assert left.sum() == DIM - len(known)
    for probe in range(2):
        seen = np.asarray(rotation(DIM).T @ sphere_vector(key, probe, DIM, float)) ** 2 * left
        weights = np.where(left, (DIM - len(known)) * seen / seen.sum(), 1) / DIM
        for power in range(1, 6):
            expected = np.sum(weights * OUTLIERS**power)
            moment = spectrum.mean(lambda x, p=power: x**p)[probe]
            np.testing.assert_allclose(moment, expected, rtol=1e-8)
    nodes, weights = spectrum.quadrature()
    assert (np.diff(nodes, axis=1) >= 0).all()
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.sum(weights * nodes, axis=1), spectrum.mean(lambda x: x))
    np.testing.assert_allclose(spectrum.mean(jnp.sign), np.sum(weights * np.sign(nodes), axis=1))


@pytest.mark.usefixtures("float64")
def test_a_looser_accuracy_knows_more_and_bounds_less(getkey):
    key, operator = getkey(), matrix(OUTLIERS, float)
    sizes = {"order": 20, "deflation_order": 20}
    tight, loose = (Deflated(**sizes, accuracy=a)(operator, key=key) for a in (1e-9, 1e-2))
    assert np.sum(loose.known) > np.sum(tight.known)
    assert loose.margin > tight.margin
    # What was removed does not come back, though its vectors are eigenvectors to a hundredth only.
    np.testing.assert_allclose(loose.values[loose.known][-2:], [30, 31], rtol=1e-3)
    assert loose.rest.nodes.max() < 4
    # A threshold within the margin of a known eigenvalue is open on both sides.
    threshold = float(tight.values[-1]) - float(loose.margin) / 2
    above = loose.mass_above(threshold)
    assert above.upper[0] - above.lower[0] > 0.9 / DIM
    np.testing.assert_allclose(tight.mass_above(threshold).lower, above.value, rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_everything_can_be_deflated(getkey):
    operator = matrix(np.linspace(1, 2, DIM), float)
    spectrum = Deflated(order=5, deflation_order=DIM)(operator, key=getkey())
    assert spectrum.known.all()
    np.testing.assert_allclose(spectrum.range(), [1, 2], rtol=1e-5)
    np.testing.assert_allclose(
        spectrum.mean(jnp.log), np.mean(np.log(np.linspace(1, 2, DIM))), 1e-4
    )
    # Four dimensions are left for an order of 40, those of one multiple eigenvalue.
    some = np.r_[np.full(DIM - 5, 10.0), np.full(5, 0.3)]
    spectrum = Deflated(order=40, deflation_order=DIM - 4)(matrix(some, float), key=getkey())
    assert spectrum.known.all()
    rank = epsilon_rank(spectrum, 1.0)
    np.testing.assert_allclose([rank.lower, rank.value, rank.upper], DIM - 5, rtol=1e-9)
    np.testing.assert_allclose(spectrum.rest.nodes, 10, rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_extreme_eigenpairs(getkey):
    vectors = rotation(DIM)
    operator = matrix(OUTLIERS, float)
    tree = {"a": jnp.zeros((4, 5)), "b": jnp.zeros(40)}
    _, unravel = ravel_pytree(tree)
    product = operator.product()
    operator = Function(lambda v: unravel(product(ravel_pytree(v)[0])), tree)
    pairs = extreme_eigenpairs(operator, count=2, key=getkey(), order=20)
    for end, values in ((pairs.smallest, [-6, -3]), (pairs.largest, [31, 30])):
        np.testing.assert_allclose(end.values, values, rtol=1e-9)
        assert end.vectors["a"].shape == (2, 4, 5)
        for i, value in enumerate(values):
            own = ravel_pytree(jax.tree.map(lambda x, i=i: x[i], end.vectors))[0]
            overlap = vectors[:, np.argmin(np.abs(OUTLIERS - value))] @ own
            np.testing.assert_allclose(abs(overlap), 1, rtol=1e-9)
            residual = np.linalg.norm(product(own) - end.values[i] * own)
            np.testing.assert_allclose(end.residuals[i], residual, atol=1e-12)
    # Before it has converged, the residual bounds the error.
    rough = extreme_eigenpairs(operator, count=1, key=getkey(), order=3).largest
    assert rough.residuals[0] > 1e-3
    assert np.abs(OUTLIERS - float(rough.values[0])).min() <= rough.residuals[0]
    # A multiple eigenvalue, by restarting.
    twice = extreme_eigenpairs(matrix(np.r_[5.0, 5.0, np.zeros(8)], float), count=3, key=getkey())
    np.testing.assert_allclose(twice.largest.values, [5, 5, 0], atol=1e-9)


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
def test_what_is_refused(make, message):
    operator = Matrix(jnp.eye(10))
    with pytest.raises(ValueError, match=message):
        make()(operator, key=jax.random.key(0))


def test_matrices_without_a_gram_matrix_are_refused():
    with pytest.raises(TypeError, match="A Matrix has no Gram matrix, .*`GaussNewton`"):
        GramEigh()(Matrix(jnp.eye(3)), key=jax.random.key(0))
    with pytest.raises(ValueError, match="Gram matrix has 4 rows .* `limit` is 3"):
        GramEigh(limit=3)(Factored(jnp.ones((9, 4))), key=jax.random.key(0))
