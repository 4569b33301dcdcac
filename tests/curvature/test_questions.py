"""Questions asked of a spectrum: counts, densities, moments and extremes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.tree_util import Partial
from layered_networks import mlp

from spectral.curvature import (
    closed_risk,
    condition_number,
    Deflated,
    Dense,
    density,
    epsilon_rank,
    extremes,
    frobenius_norm,
    GaussNewton,
    GramEigh,
    Hessian,
    KFAC,
    KroneckerEigh,
    Lanczos,
    log_det,
    Matrix,
    normalised_epsilon_rank,
    smoothed_density_mass,
    spectral_effective_rank,
    spectral_stable_rank,
    Spectrum,
    trace,
)


def half_quadratic(matrix, x):
    return x @ matrix @ x / 2


def rotated(eigenvalues):
    rng = np.random.default_rng(len(eigenvalues))
    vectors = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
    return (vectors * eigenvalues) @ vectors.T, vectors


def quadratic(eigenvalues):
    matrix, vectors = rotated(eigenvalues)
    matrix = jnp.asarray(matrix)
    return Hessian(Partial(half_quadratic, matrix), jnp.zeros(len(eigenvalues))), vectors


def by_hand(nodes, weights, *, exhausted=False, tolerance=0.0, dim=100, gauss=True):
    """A spectrum with the same nodes for each row of weights."""
    weights = jnp.asarray(weights)
    probes, order = weights.shape
    return Spectrum(
        nodes=jnp.broadcast_to(jnp.asarray(nodes), weights.shape),
        weights=weights,
        residuals=jnp.zeros((probes, order)),
        diagonal=jnp.zeros((probes, order)),
        off_diagonal=jnp.zeros((probes, order - 1)),
        exhausted=jnp.full(probes, exhausted),
        tolerance=jnp.full(probes, tolerance),
        dim=dim,
        gauss=gauss,
    )


NODES = [-3.0, -1.0, 0.25, 0.5, 2.0]
WEIGHTS = [[0.10, 0.20, 0.30, 0.25, 0.15]]


@pytest.mark.parametrize(
    ("epsilon", "options", "lower", "value", "upper"),
    [
        (1.5, {}, 0, 25, 70),  # above 2.0: 0 to .40; below -3: 0 to .30
        (0.3, {}, 25, 70, 100),  # .15 to .70; .10 to .60
        (0.1, {}, 50, 100, 100),  # .40 to 1; .10 to .60: no more than everything
        (4.0, {}, 0, 0, 25),  # .15 and .10 may belong beyond the last nodes
        (0.3, {"exhausted": True}, 70, 70, 70),
        (0.5, {"exhausted": True}, 45, 45, 45),  # strictly above epsilon
        (0.5, {"exhausted": True, "tolerance": 0.01}, 45, 45, 70),
        (0.49, {"exhausted": True, "tolerance": 0.02}, 45, 70, 70),
    ],
)
def test_bounds_by_hand(epsilon, options, lower, value, upper):
    rank = jax.jit(epsilon_rank)(by_hand(NODES, WEIGHTS, **options), epsilon)
    np.testing.assert_allclose(
        [rank.lower, rank.value, rank.upper], [lower, value, upper], rtol=1e-6, atol=1e-5
    )
    assert np.isnan(rank.sem)
    assert rank.resolved == (upper - lower <= 10)


def test_relative_thresholds_and_shares():
    spectrum = by_hand(NODES, WEIGHTS, exhausted=True)
    absolute = epsilon_rank(spectrum, 1.5)
    relative = epsilon_rank(spectrum, 0.5, relative=True)  # of 3, at the negative end
    np.testing.assert_array_equal(jax.tree.leaves(relative), jax.tree.leaves(absolute))
    fraction = normalised_epsilon_rank(spectrum, 0.5, relative=True)
    assert fraction.value == relative.value / 100
    assert fraction.upper == relative.upper / 100
    two = by_hand(NODES, WEIGHTS * 2, exhausted=True)
    assert normalised_epsilon_rank(two, 1.5).sem == 0
    assert epsilon_rank(by_hand([0.0], [[1.0]]), 0.1, relative=True).value == 0


def test_a_bound_is_not_cut_where_a_probe_sees_more_than_everything():
    # Normal vectors are longer or shorter than 1.
    weights = [[0.3, 0.5, 0.4], [0.1, 0.3, 0.3]]
    rank = epsilon_rank(by_hand([-1.0, 0.0, 1.0], weights), 0.5)
    np.testing.assert_allclose([rank.value, rank.upper], [55, 95], rtol=1e-6)


def test_probes_are_averaged_and_their_error_stated():
    weights = [[0.2, 0.8], [0.3, 0.7], [0.7, 0.3]]
    rank = epsilon_rank(by_hand([0.0, 5.0], weights, exhausted=True), 1)
    np.testing.assert_allclose(rank.value, 60, rtol=1e-6)
    np.testing.assert_allclose(rank.lower, 60, rtol=1e-6)
    np.testing.assert_allclose(rank.sem, scipy.stats.sem([80, 70, 30]), rtol=1e-6)


def test_a_small_rank_of_a_large_matrix_keeps_its_digits():
    weights = [[1e-8, 1 - 4e-8, 3e-8]]
    spectrum = by_hand([-5.0, 0.0, 5.0], weights, exhausted=True, dim=10**8)
    np.testing.assert_allclose(epsilon_rank(spectrum, 0.1).value, 4, rtol=1e-5)


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**15])
def test_scaling_the_matrix_and_epsilon_changes_nothing(scale, getkey):
    eigenvalues = np.r_[-6, -3, np.linspace(-0.5, 1.5, 36), 30, 31]
    key = getkey()
    results = []
    for c in (1, scale):
        spectrum = Lanczos(order=15)(quadratic(c * eigenvalues)[0], key=key)
        rank = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, c * jnp.array([0.1, 2, 10]))
        results.append(np.stack(jax.tree.leaves(rank)))
    np.testing.assert_allclose(*results, rtol=1e-4)


@pytest.mark.parametrize("bad", [0, -0.1, float("nan"), float("inf")])
def test_numbers_that_are_refused(bad):
    spectrum = by_hand(NODES, WEIGHTS)
    with pytest.raises(ValueError, match="`epsilon` is .* finite and above 0"):
        epsilon_rank(spectrum, bad)
    with pytest.raises(ValueError, match="`width` is .* finite and above 0"):
        density(spectrum, jnp.zeros(2), width=bad)


def test_density_is_a_mixture_of_gaussians_of_the_stated_width():
    grid = jnp.linspace(-5, 5, 2001)
    one = density(by_hand([1.0], [[1.0]]), grid, width=0.5)
    np.testing.assert_allclose(one, scipy.stats.norm.pdf(grid, 1, 0.5), rtol=1e-4, atol=1e-6)

    weights = [[0.10, 0.20, 0.30, 0.25, 0.15], [0.0, 0.0, 0.9, 0.1, 0.0]]
    curve = density(by_hand(NODES, weights), grid, width=jnp.array(0.3))
    assert curve.shape == grid.shape
    np.testing.assert_allclose(np.trapezoid(curve, grid), 1, rtol=1e-3)
    mean = np.mean(np.asarray(weights), axis=0) @ np.asarray(NODES)
    np.testing.assert_allclose(np.trapezoid(grid * curve, grid), mean, rtol=1e-2)


# The same bulk as in a collapsed network, 11 nonzero eigenvalues of 200,000, at growing ranges.
@pytest.mark.parametrize(
    ("extent", "published", "digits"),
    [(10, 0.0001, 5e-5), (100, 0.012, 5e-4), (300, 0.19, 5e-3), (1000, 0.61, 5e-3)]
    + [(2200, 0.63, 5e-3), (10_000, 1.0, 5e-2)],
)
def test_the_published_estimator_measures_the_range(extent, published, digits):
    nonzero = np.linspace(-0.2, 0.8, 11) * extent
    nonzero[2] += 0.05 * extent  # or else one of them would be 0
    nodes = np.sort(np.r_[0, nonzero])
    weights = np.where(nodes == 0, 1 - 11 / 200_000, 1 / 200_000)
    spectrum = by_hand(nodes, [weights], exhausted=True, dim=200_000)
    mass = jax.jit(smoothed_density_mass)(spectrum, 0.1)
    np.testing.assert_allclose(mass, published, atol=digits)
    np.testing.assert_allclose(epsilon_rank(spectrum, 0.1).value, 11, rtol=1e-4)


def test_the_published_estimator_by_hand():
    # On one side, and with a kernel that is small beside epsilon and large beside the grid.
    weights = [[0.10, 0.20, 0.30, 0.25, 0.15], [0.0, 0.0, 0.9, 0.1, 0.0]]
    measure = jax.jit(smoothed_density_mass)
    mass = measure(by_hand(NODES, weights), 0.4)
    np.testing.assert_allclose(mass, (0.7 + 0.1) / 2, atol=0.02)
    sd = np.sqrt(1e-5 * 5)
    one = by_hand([-3.0, 0.0, 2.0], [[0.0, 1.0, 0.0]])
    # The tails beyond two standard deviations, and the trapezoid over the gap between them.
    expected = 2 * scipy.stats.norm.sf(2) + scipy.stats.norm.pdf(2) / sd * 4 * sd
    np.testing.assert_allclose(measure(one, 2 * sd), expected, rtol=0.05)
    assert measure(by_hand([1.0, 2.0], [[0.5, 0.5]]), 3.0) == 0


@jax.jit
def answers(spectrum):
    questions = (trace, frobenius_norm, spectral_stable_rank, spectral_effective_rank, log_det)
    return [question(spectrum) for question in questions]


@pytest.mark.usefixtures("float64")
def test_questions_agree_with_the_dense_matrix(getkey):
    eigenvalues = np.r_[-4.0, -0.2, np.linspace(0.3, 2.0, 10), 7.0]
    matrix, _ = rotated(eigenvalues)
    spectrum = Dense()(Matrix(matrix), key=getkey())
    absolute = np.abs(eigenvalues)
    expected = [
        np.trace(matrix),
        np.linalg.norm(matrix),
        (np.linalg.norm(matrix) / np.linalg.norm(matrix, 2)) ** 2,
        np.exp(scipy.stats.entropy(absolute)),
        np.linalg.slogdet(matrix)[1],
    ]
    got = answers(spectrum)
    np.testing.assert_allclose([g.value for g in got], expected, rtol=1e-12)
    assert [float(g.sem) for g in got] == [0] * 5  # known, not estimated
    np.testing.assert_allclose(condition_number(spectrum), np.linalg.cond(matrix), rtol=1e-10)
    damped = matrix + 0.1 * np.eye(13)
    value = log_det(spectrum, damping=0.1).value
    np.testing.assert_allclose(value, np.linalg.slogdet(damped)[1], rtol=1e-12)
    number = condition_number(spectrum, damping=0.1)
    np.testing.assert_allclose(number, np.linalg.cond(damped), rtol=1e-10)
    ends = extremes(spectrum, count=2)
    np.testing.assert_allclose(ends.largest, [7, 2], rtol=1e-12)
    np.testing.assert_allclose(ends.smallest, [-4, -0.2], rtol=1e-12)
    assert max(ends.largest_residuals) < 1e-12


@pytest.mark.usefixtures("float64")
def test_standard_errors_are_those_of_new_probes(getkey):
    operator, _ = quadratic(np.r_[-1.0, np.linspace(0.5, 2.0, 10), 6.0])

    @eqx.filter_jit
    @jax.vmap
    def ask(key):
        spectrum = Lanczos(order=12, num_vectors=10)(operator, key=key)
        return answers(spectrum)

    for estimate, exact in zip(
        ask(jax.random.split(getkey(), 200)),
        [estimate.value for estimate in answers(Dense()(operator, key=getkey()))],
        strict=True,
    ):
        spread = np.std(estimate.value)
        # 200 seeds know their spread to 5 %, and 10 probes the standard error without bias to 5 %.
        np.testing.assert_allclose(np.sqrt(np.mean(estimate.sem**2)), spread, rtol=0.2)
        half = scipy.stats.t.ppf(0.975, 9) * estimate.sem
        assert np.mean(np.abs(estimate.value - exact) <= half) > 0.88


def test_ranks_of_known_spectra():
    # Four eigenvalues of magnitude 2 among a hundred.
    nodes, weights = [-2.0, 0.0, 2.0], [[0.01, 0.96, 0.03]]
    spectrum = by_hand(nodes, weights, exhausted=True)
    for scale in (1e-25, 1.0, 1e25):  # squares leave float32
        scaled = by_hand(scale * np.asarray(nodes), weights, exhausted=True)
        expected = [4 * scale, 4 * scale, 4, 4, -np.inf]
        values = [estimate.value for estimate in answers(scaled)]
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    damped = log_det(spectrum, damping=1.0).value
    np.testing.assert_allclose(damped, np.log(1) + 3 * np.log(3), rtol=1e-4, atol=1e-4)
    assert condition_number(spectrum) == np.inf
    np.testing.assert_allclose(condition_number(spectrum, damping=0.5), 5)


def test_rounding_is_not_taken_for_an_eigenvalue():
    spectrum = by_hand([1e-9, 0.5, 20.0], [[0.2, 0.4, 0.4]])
    assert log_det(spectrum).value == -np.inf
    assert condition_number(spectrum) == np.inf
    np.testing.assert_allclose(condition_number(spectrum, damping=0.1), 201, rtol=1e-5)


def test_a_matrix_of_zeros():
    spectrum = by_hand([0.0, 0.0], [[0.4, 0.6], [0.3, 0.7]], exhausted=True)
    *others, logarithm = answers(spectrum)
    np.testing.assert_array_equal(jax.tree.leaves(others), 0)
    assert logarithm.value == -np.inf
    assert condition_number(spectrum) == np.inf
    assert extremes(spectrum).largest == 0


def test_a_matrix_that_is_not_finite_answers_nothing(getkey):
    spectrum = Lanczos(order=3)(Matrix(jnp.full((3, 3), jnp.nan)), key=getkey())
    got = [
        *answers(spectrum),
        condition_number(spectrum),
        extremes(spectrum),
        smoothed_density_mass(spectrum, 1),
    ]
    got += [density(spectrum, jnp.zeros(2), width=1)]
    got += [eqx.filter(epsilon_rank(spectrum, 0.1, relative=True), eqx.is_inexact_array)]
    for leaf in jax.tree.leaves(got):
        assert np.isnan(leaf).all()


@pytest.mark.usefixtures("float64")
def test_extremes_are_the_best_of_all_probes(getkey):
    eigenvalues = np.r_[-6, -3, np.linspace(-0.5, 1.5, 36), 30, 31]
    operator, _ = quadratic(eigenvalues)
    spectrum = Lanczos(order=6, num_vectors=4)(operator, key=getkey())
    ends = extremes(spectrum, count=3)
    for got, truth in (
        (ends.largest, np.sort(eigenvalues)[::-1]),
        (-ends.smallest, np.sort(-eigenvalues)[::-1]),
    ):
        assert (np.diff(got) <= 0).all()
        assert (got <= truth[:3] + 1e-9).all()
    np.testing.assert_allclose(ends.largest, np.sort(spectrum.nodes)[:, ::-1][:, :3].max(axis=0))
    for values, residuals in (
        (ends.largest, ends.largest_residuals),
        (ends.smallest, ends.smallest_residuals),
    ):
        distance = np.abs(np.asarray(values)[:, None] - eigenvalues).min(axis=1)
        assert (distance <= residuals + 1e-12).all()
        assert np.isin(residuals, spectrum.residuals).all()


@pytest.mark.usefixtures("float64")
def test_extremes_of_what_is_known_have_their_multiplicity(getkey):
    # 6 parameters, 3 columns: all that is left is one node of three zeros.
    weights = jax.random.normal(getkey(), (6, 3))
    risk = closed_risk(lambda p: p @ weights, lambda z: jnp.sum(z**2) / 2)
    ggn = GaussNewton(risk, jnp.zeros(6))
    spectrum = GramEigh()(ggn, key=getkey())
    assert spectrum.nodes.shape == (1, 4)
    truth = np.linalg.eigvalsh(weights @ weights.T)
    ends = extremes(spectrum, count=6)
    np.testing.assert_allclose(ends.smallest, truth, atol=1e-12)
    np.testing.assert_allclose(ends.largest, truth[::-1], atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("deflation_order", [20, 30])
def test_extremes_of_a_deflated_spectrum(deflation_order, getkey):
    # All of 30 dimensions are deflated, or so many that fewer are left than the order asks for.
    truth = np.r_[np.linspace(-1, 1, 24), -40.0, -30.0, 10.0, 20.0, 30.0, 40.0]
    operator = Matrix(jnp.asarray(rotated(truth)[0]))
    estimator = Deflated(order=28, deflation_order=deflation_order)
    spectrum = estimator(operator, key=getkey())
    known = np.sum(spectrum.known)
    assert 2 < known <= 30
    assert (known == 30) == (deflation_order == 30)
    ends, truth = extremes(spectrum, count=28), np.sort(truth)
    np.testing.assert_allclose(ends.largest, truth[:1:-1], atol=1e-6)
    np.testing.assert_allclose(ends.smallest, truth[:-2], atol=1e-6)
    assert (np.abs(ends.largest - truth[:1:-1]) <= ends.largest_residuals + 1e-12).all()
    assert (np.abs(ends.smallest - truth[:-2]) <= ends.smallest_residuals + 1e-12).all()


@pytest.mark.usefixtures("float64")
def test_extremes_of_factors(getkey):
    kfac = KFAC(*mlp(getkey()))
    truth = np.linalg.eigvalsh(kfac.dense())
    ends = extremes(KroneckerEigh()(kfac, key=getkey()), count=kfac.dim)
    np.testing.assert_allclose(ends.largest, truth[::-1], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(ends.smallest, truth, rtol=1e-9, atol=1e-14)
    few = extremes(KroneckerEigh()(kfac, key=getkey()), count=3)
    np.testing.assert_allclose(few.largest, truth[:-4:-1], rtol=1e-9)


def test_nodes_that_were_chosen_are_no_eigenvalues():
    spectrum = by_hand(NODES, WEIGHTS, gauss=False)
    np.testing.assert_allclose(extremes(spectrum).largest, spectrum.range()[1])
    with pytest.raises(ValueError, match="`count` is 2, but must be at most 1, .* estimator"):
        extremes(spectrum, count=2)


def test_questions_that_are_refused():
    spectrum = by_hand(NODES, WEIGHTS)
    with pytest.raises(ValueError, match="`count` is 6, but must be at most 5"):
        extremes(spectrum, count=6)
    with pytest.raises(ValueError, match="`count` is 0"):
        extremes(spectrum, count=0)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="`count` is 4, but must be at most 3"):
        extremes(Dense()(Matrix(jnp.eye(3)), key=key), count=4)
    with pytest.raises(ValueError, match="`count` is 3, but must be at most 2.*a higher order"):
        extremes(Deflated(order=2)(Matrix(jnp.eye(3)), key=key), count=3)
    for question in (log_det, condition_number):
        with pytest.raises(ValueError, match="`damping` is -1.0, but must be finite and at least"):
            question(spectrum, damping=-1.0)
    with pytest.raises(ValueError, match="`epsilon` is 0"):
        smoothed_density_mass(spectrum, 0)
