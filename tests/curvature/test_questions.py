"""Questions asked of a spectrum: counts, densities, moments and extremes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from curvature_cases import matrix, rotated

from spectral.curvature import (
    condition_number,
    Deflated,
    Dense,
    density,
    epsilon_rank,
    extremes,
    frobenius_norm,
    KroneckerSpectrum,
    Lanczos,
    log_det,
    Matrix,
    normalised_epsilon_rank,
    RankEstimate,
    smoothed_density_mass,
    spectral_effective_rank,
    spectral_stable_rank,
    Spectrum,
    trace,
)
from spectral.curvature.spectra._spectrum import known_spectrum


def by_hand(nodes, weights, *, exhausted=False, tolerance=0.0, dim=100, gauss=True, order=5):
    """A spectrum with the same nodes for each row of weights, with nodes of weight 0 up to the
    given order: spectra of the same shape share their programs."""
    weights = np.atleast_2d(np.asarray(weights, np.float32))
    fill = order - len(nodes)
    nodes = np.r_[np.full(fill, nodes[0]), nodes].astype(np.float32)
    weights = np.pad(weights, ((0, 0), (fill, 0)))
    count = len(weights)
    return Spectrum(
        nodes=jnp.asarray(np.broadcast_to(nodes, weights.shape)),
        weights=jnp.asarray(weights),
        residuals=jnp.asarray(np.zeros((count, order), np.float32)),
        diagonal=jnp.asarray(np.zeros((count, order), np.float32)),
        off_diagonal=jnp.asarray(np.zeros((count, order - 1), np.float32)),
        exhausted=jnp.asarray(np.full(count, exhausted)),
        tolerance=jnp.asarray(np.full(count, tolerance, np.float32)),
        dim=dim,
        gauss=gauss,
    )


def whole(eigenvalues, dim=None):
    """The exact spectrum of a matrix with these eigenvalues, ascending."""
    dim = len(eigenvalues) if dim is None else dim
    return known_spectrum(jnp.asarray(eigenvalues), jnp.full(len(eigenvalues), 1 / dim), dim)


@eqx.filter_jit
def _ranks(spectrum, epsilon):
    return (
        epsilon_rank(spectrum, epsilon),
        epsilon_rank(spectrum, epsilon, relative=True),
        normalised_epsilon_rank(spectrum, epsilon, relative=True),
    )


def ranks_of(spectrum, epsilon) -> tuple[RankEstimate, RankEstimate, RankEstimate]:
    """With an absolute and a relative threshold, and the latter normalised, from one program."""
    return jax.tree.map(np.asarray, _ranks(spectrum, jnp.asarray(epsilon)))


def rank_of(spectrum, epsilon) -> RankEstimate:
    return ranks_of(spectrum, epsilon)[0]


NODES = [-3.0, -1.0, 0.25, 0.5, 2.0]
WEIGHTS = [[0.10, 0.20, 0.30, 0.25, 0.15]]


@pytest.mark.parametrize(
    ("epsilon", "options", "lower", "value", "upper"),
    [
        (1.5, {}, 0, 25, 70),  # above 2.0: 0 to .40; below -3: 0 to .30
        (0.3, {}, 25, 70, 100),  # .15 to .70; .10 to .60
        (0.1, {}, 50, 100, 100),  # .40 to 1; .10 to .60: at most everything
        (4.0, {}, 0, 0, 25),  # .15 and .10 may belong beyond the last nodes
        (0.3, {"exhausted": True}, 70, 70, 70),
        (0.5, {"exhausted": True}, 45, 45, 45),  # strictly above epsilon
        (0.5, {"exhausted": True, "tolerance": 0.01}, 45, 45, 70),
        (0.49, {"exhausted": True, "tolerance": 0.02}, 45, 70, 70),
    ],
)
def test_bounds_by_hand(epsilon, options, lower, value, upper):
    rank = rank_of(by_hand(NODES, WEIGHTS, **options), epsilon)
    np.testing.assert_allclose(
        [rank.lower, rank.value, rank.upper], [lower, value, upper], rtol=1e-6, atol=1e-5
    )
    assert np.isnan([rank.sem, rank.lower_sem, rank.upper_sem, rank.low, rank.high]).all()
    assert rank.resolved == (upper - lower <= 10)


def test_relative_thresholds():
    # The largest magnitude is 3, at the negative end, so the threshold is 1.2: -3 and 2 are
    # beyond it. Relative to the other end it would be 0.8, and -1 would be beyond it as well.
    _, rank, _ = ranks_of(by_hand(NODES, WEIGHTS, exhausted=True), 0.4)
    np.testing.assert_allclose(rank.value, 25, rtol=1e-6)
    flipped = by_hand([-x for x in NODES[::-1]], [WEIGHTS[0][::-1]], exhausted=True)
    np.testing.assert_allclose(ranks_of(flipped, 0.4)[1].value, 25, rtol=1e-6)
    assert ranks_of(by_hand([0.0], [[1.0]]), 0.1)[1].value == 0


def test_normalised_ranks():
    _, rank, fraction = ranks_of(by_hand(NODES, WEIGHTS, tolerance=0.01), 0.5)
    np.testing.assert_allclose(fraction.value, rank.value / 100, rtol=1e-6)
    np.testing.assert_allclose(fraction.lower, rank.lower / 100, rtol=1e-6)
    np.testing.assert_allclose(fraction.upper, rank.upper / 100, rtol=1e-6)
    assert fraction.resolved == rank.resolved
    assert fraction.value > 0


def test_a_bound_is_not_cut_if_a_vector_sees_more_than_everything():
    # Normal vectors are longer or shorter than 1.
    weights = [[0.3, 0.5, 0.4], [0.1, 0.3, 0.3], [0.3, 0.5, 0.4]]
    rank = rank_of(by_hand([-1.0, 0.0, 1.0], weights), 0.5)
    np.testing.assert_allclose([rank.value, rank.upper], [60, 310 / 3], rtol=1e-6)


def test_vectors_are_averaged():
    weights = [[0.2, 0.8], [0.3, 0.7], [0.7, 0.3]]
    spectrum = by_hand([0.0, 5.0], weights, exhausted=True)
    rank = rank_of(spectrum, 1)
    np.testing.assert_allclose(rank.value, 60, rtol=1e-6)
    np.testing.assert_allclose(rank.lower, 60, rtol=1e-6)
    np.testing.assert_allclose(rank.sem, scipy.stats.sem([80, 70, 30]), rtol=1e-6)
    _, _, fraction = ranks_of(spectrum, 0.2)
    np.testing.assert_allclose(fraction.sem, scipy.stats.sem([0.8, 0.7, 0.3]), rtol=1e-6)


def test_the_interval_joins_the_bracket_and_its_noise():
    weights = [[0.1, 0.2, 0.3, 0.3, 0.1], [0.1, 0.2, 0.3, 0.2, 0.2], [0.1, 0.1, 0.2, 0.3, 0.3]]
    spectrum = by_hand(NODES, weights)
    rank, _, fraction = ranks_of(spectrum, 0.3)
    # Above 0.3 of each vector lie the weights of the nodes 2.0, at least, and of 0.25 to 2.0, at
    # most; below -0.3 that of -3 and of all up to 0.25.
    lower = [20, 30, 40]
    upper = [100, 100, 100]
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(lower)
    np.testing.assert_allclose([rank.lower, rank.upper], [30, 100], rtol=1e-5)
    np.testing.assert_allclose(rank.lower_sem, scipy.stats.sem(lower), rtol=1e-5)
    np.testing.assert_allclose(rank.upper_sem, scipy.stats.sem(upper), atol=1e-4)
    np.testing.assert_allclose([rank.low, rank.high], [30 - half, 100], rtol=1e-5)
    # Both ends have noise, and a count is not negative.
    rank = rank_of(spectrum, 1.5)
    ends = [scipy.stats.sem(x) for x in ([0, 0, 0], [70, 70, 80])]
    np.testing.assert_allclose([rank.lower_sem, rank.upper_sem], ends, rtol=1e-4, atol=1e-5)
    high = (70 + 70 + 80) / 3 + scipy.stats.t.ppf(0.975, 2) * ends[1]
    np.testing.assert_allclose([rank.low, rank.high], [0, high], rtol=1e-5)
    for name in ("low", "high", "lower_sem", "upper_sem"):
        own = getattr(ranks_of(spectrum, 0.1)[2], name)
        np.testing.assert_allclose(own, getattr(ranks_of(spectrum, 0.1)[1], name) / 100, rtol=1e-6)
    exact = ranks_of(whole(np.asarray([-3.0, 0.0, 1.0, 2.0, 5.0], np.float32)), 1.5)[0]
    assert [float(x) for x in (exact.low, exact.high, exact.lower_sem)] == [3, 3, 0]


@pytest.mark.slow
def test_a_small_rank_of_a_large_matrix_keeps_its_digits():
    spectrum = by_hand([-5.0, 0.0, 5.0], [[1e-8, 1 - 4e-8, 3e-8]], exhausted=True, dim=10**8)
    value = eqx.filter_jit(lambda s: epsilon_rank(s, 0.1).value)(spectrum)
    np.testing.assert_allclose(value, 4, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2.0**-12, 2.0**15])
def test_scaling_the_matrix_and_epsilon_changes_nothing(scale, getkey):
    eigenvalues = np.r_[-6, -3, np.linspace(-0.5, 1.5, 28), 30, 31]
    key = getkey()
    results = []
    for c in (1, scale):
        spectrum = Lanczos(order=15)(matrix(c * eigenvalues), key=key)
        rank = jax.vmap(epsilon_rank, in_axes=(None, 0))(spectrum, c * jnp.array([0.1, 2, 10]))
        results.append(np.stack(jax.tree.leaves(rank)))
    np.testing.assert_allclose(*results, rtol=1e-4)


@pytest.mark.parametrize("bad", [0, -0.1, float("nan"), float("inf")])
def test_bad_thresholds_and_widths(bad):
    spectrum = by_hand(NODES, WEIGHTS)
    with pytest.raises(ValueError, match="`epsilon` is .* finite and above 0"):
        epsilon_rank(spectrum, bad)
    with pytest.raises(ValueError, match="`epsilon` is .* finite and above 0"):
        smoothed_density_mass(spectrum, bad)
    with pytest.raises(ValueError, match="`width` is .* finite and above 0"):
        density(spectrum, jnp.zeros(2), width=bad)


curve_of = eqx.filter_jit(lambda spectrum, grid, width: density(spectrum, grid, width=width))


def test_density_is_a_mixture_of_gaussians():
    grid = np.linspace(-5, 5, 2001, dtype=np.float32)
    narrow = by_hand([1.0], [[1.0], [1.0], [1.0]])
    expected = scipy.stats.norm.pdf(grid, 1, 0.5)
    curve = curve_of(narrow, jnp.asarray(grid), jnp.asarray(0.5))
    np.testing.assert_allclose(curve, expected, rtol=1e-4, atol=1e-6)

    weights = [
        [0.10, 0.20, 0.30, 0.25, 0.15],
        [0.0, 0.0, 0.9, 0.1, 0.0],
        [0.05, 0.10, 0.60, 0.175, 0.075],
    ]
    curve = curve_of(by_hand(NODES, weights), jnp.asarray(grid), jnp.asarray(0.3))
    assert curve.shape == grid.shape
    np.testing.assert_allclose(np.trapezoid(curve, grid), 1, rtol=1e-3)
    mean = np.mean(np.asarray(weights), axis=0) @ np.asarray(NODES)
    np.testing.assert_allclose(np.trapezoid(grid * curve, grid), mean, rtol=1e-2)


_smoothed = eqx.filter_jit(smoothed_density_mass)


def smoothed(nodes, weights, epsilon):
    """The published estimate for two rows of weights, in one program."""
    weights = np.broadcast_to(weights, (2, len(nodes)))
    return _smoothed(by_hand(nodes, weights, order=12, dim=200_000), jnp.asarray(epsilon))


# The bulk of a collapsed network, 11 nonzero eigenvalues of 200,000, with growing ranges.
@pytest.mark.parametrize(
    ("extent", "published", "digits"),
    [(10, 0.0001, 5e-5), (100, 0.012, 5e-4), (300, 0.19, 5e-3), (1000, 0.61, 5e-3)]
    + [(2200, 0.63, 5e-3), (10_000, 1.0, 5e-2)],
)
def test_the_published_estimator_measures_the_range(extent, published, digits):
    nonzero = np.linspace(-0.2, 0.8, 11) * extent
    nonzero[2] += 0.05 * extent  # otherwise it would be 0
    nodes = np.sort(np.r_[0, nonzero])
    weights = np.where(nodes == 0, 1 - 11 / 200_000, 1 / 200_000)
    np.testing.assert_allclose(smoothed(nodes, weights, 0.1), published, atol=digits)


def test_the_published_estimator_by_hand():
    # On one side, and with a kernel that is narrow beside epsilon and wide beside the grid.
    weights = [[0.10, 0.20, 0.30, 0.25, 0.15], [0.0, 0.0, 0.9, 0.1, 0.0]]
    np.testing.assert_allclose(smoothed(NODES, weights, 0.4), (0.7 + 0.1) / 2, atol=0.02)
    sd = np.sqrt(1e-5 * 5)
    # The tails beyond two standard deviations, and the trapezoid over the gap between them.
    expected = 2 * scipy.stats.norm.sf(2) + scipy.stats.norm.pdf(2) / sd * 4 * sd
    mass = smoothed([-3.0, 0.0, 2.0], [[0.0, 1.0, 0.0]], 2 * sd)
    np.testing.assert_allclose(mass, expected, rtol=0.05)
    assert smoothed([1.0, 2.0], [[0.5, 0.5]], 3.0) == 0
    assert np.isnan(smoothed([0.0, np.nan], [[0.5, 0.5]], 3.0))


POWERS = 0, -100, -64, 37, 100
MOMENTS = trace, frobenius_norm, spectral_stable_rank, spectral_effective_rank, log_det


@eqx.filter_jit
def _answers(spectrum, damping):
    answers = [question(spectrum) for question in MOMENTS]
    damped = log_det(spectrum, damping=damping)
    number = [condition_number(spectrum), condition_number(spectrum, damping=damping)]
    return answers, damped, number


def answers(spectrum, damping=1.0):
    """Trace, norm, ranks and log-determinant; and with damping the log-determinant, and the
    condition number without and with it."""
    if not spectrum.exact and len(spectrum.weights) == 1:  # share the program of three vectors
        repeat = lambda x: jnp.asarray(np.repeat(x, 3, axis=0))
        spectrum = jax.tree.map(repeat, spectrum)
    return jax.tree.map(np.asarray, _answers(spectrum, jnp.asarray(damping)))


@pytest.mark.usefixtures("float64")
def test_questions_agree_with_the_dense_matrix():
    eigenvalues = np.r_[-4.0, -0.2, np.linspace(0.3, 2.0, 10), 7.0]
    array = rotated(eigenvalues)
    spectrum = whole(eigenvalues)
    absolute = np.abs(eigenvalues)
    expected = [
        np.trace(array),
        np.linalg.norm(array),
        (np.linalg.norm(array) / np.linalg.norm(array, 2)) ** 2,
        np.exp(scipy.stats.entropy(absolute)),
        np.linalg.slogdet(array)[1],
    ]
    got, damped, numbers = answers(spectrum, 0.1)
    np.testing.assert_allclose([g.value for g in got], expected, rtol=1e-12)
    assert [float(g.sem) for g in got] == [0] * 5  # known, not estimated
    matrices = array, array + 0.1 * np.eye(13)
    np.testing.assert_allclose(damped.value, np.linalg.slogdet(matrices[1])[1], rtol=1e-12)
    np.testing.assert_allclose(numbers, [np.linalg.cond(m) for m in matrices], rtol=1e-10)
    ends = eqx.filter_jit(extremes)(spectrum, count=2)
    np.testing.assert_allclose(ends.largest, [7, 2], rtol=1e-12)
    np.testing.assert_allclose(ends.smallest, [-4, -0.2], rtol=1e-12)
    assert max(ends.largest_residuals) < 1e-12


def test_standard_errors_by_the_delta_method():
    weights = np.array([[0.2, 0.5, 0.3], [0.3, 0.6, 0.1], [0.7, 0.1, 0.2]])
    nodes = np.array([-1.0, 2.0, 4.0])
    means, squares = weights @ nodes, weights @ nodes**2
    absolute, logarithms = weights @ np.abs(nodes), weights @ np.log(np.abs(nodes))
    norm, sem = np.sqrt(100 * squares.mean()), lambda x: scipy.stats.sem(100 * x)
    entropies = weights @ (np.abs(nodes) * np.log(np.abs(nodes)))
    # With S and T the means of |x| and |x| log |x|, the effective rank is dim S exp(-T / S).
    rank = 100 * absolute.mean() * np.exp(-entropies.mean() / absolute.mean())
    ratio = entropies.mean() / absolute.mean()
    influence = rank / absolute.mean() * ((1 + ratio) * absolute - entropies)
    expected = [
        (100 * means.mean(), sem(means)),
        (norm, sem(squares) / (2 * norm)),
        (100 * squares.mean() / 16, sem(squares / 16)),
        (rank, scipy.stats.sem(influence)),
        (100 * logarithms.mean(), sem(logarithms)),
    ]
    for estimate, (value, error) in zip(answers(by_hand(nodes, weights))[0], expected, strict=True):
        np.testing.assert_allclose([estimate.value, estimate.sem], [value, error], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_standard_errors_are_the_spread_over_new_vectors():
    eigenvalues = np.r_[-1.0, np.linspace(0.5, 2.0, 10), 6.0]
    vectors = np.random.default_rng(1).normal(size=(200, 10, 12))
    weights = vectors**2 / np.sum(vectors**2, axis=2, keepdims=True)
    like = whole(eigenvalues)

    @eqx.filter_jit
    @jax.vmap
    def ask(weights):
        nodes = jnp.broadcast_to(like.nodes, weights.shape)
        spectrum = Spectrum(
            nodes=nodes,
            weights=weights,
            residuals=nodes,
            diagonal=nodes,
            off_diagonal=nodes[:, 1:],
            exhausted=jnp.ones(10, bool),
            tolerance=jnp.zeros(10),
            dim=12,
        )
        return [question(spectrum) for question in MOMENTS]

    exact = [estimate.value for estimate in answers(like)[0]]
    for estimate, truth in zip(ask(jnp.asarray(weights)), exact, strict=True):
        spread = np.std(estimate.value)
        # 200 seeds know their spread to 5 %; 10 vectors give the standard error without bias.
        np.testing.assert_allclose(np.sqrt(np.mean(estimate.sem**2)), spread, rtol=0.2)
        half = scipy.stats.t.ppf(0.975, 9) * np.asarray(estimate.sem)
        assert np.mean(np.abs(estimate.value - truth) <= half) > 0.88


def test_ranks_of_known_spectra():
    # Four eigenvalues of magnitude 2 among a hundred.
    nodes, weights = [-2.0, 0.0, 2.0], [[0.01, 0.96, 0.03]]
    for scale in (1e-25, 1.0, 1e25):  # squares leave float32
        scaled = by_hand(scale * np.asarray(nodes), weights, exhausted=True)
        expected = [4 * scale, 4 * scale, 4, 4, -np.inf]
        values = [estimate.value for estimate in answers(scaled)[0]]
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    _, damped, _ = answers(by_hand(nodes, weights, exhausted=True), 1.0)
    np.testing.assert_allclose(damped.value, np.log(1) + 3 * np.log(3), rtol=1e-4, atol=1e-4)
    *_, numbers = answers(by_hand(nodes, weights, exhausted=True), 0.5)
    np.testing.assert_allclose(numbers, [np.inf, 5])


def test_a_power_of_two_changes_no_digit_of_a_question():
    # Weight times eigenvalue is below the normal numbers for the first node at 2^-100.
    weights = np.random.default_rng(0).dirichlet([1, 1, 1, 1], size=3)
    weights = np.c_[np.full(3, 1e-10), weights]
    nodes = np.asarray([-3e-4, 0.002, 0.7, 1.3, 2.1], np.float32)
    spectra = [by_hand(np.ldexp(nodes, p), weights, tolerance=2.0 ** (p - 20)) for p in POWERS]
    got = [answers(s, 2.0**p) for s, p in zip(spectra, POWERS, strict=True)]
    relative = [ranks_of(s, 0.3)[1:] for s in spectra]
    absolute = [ranks_of(s, np.float32(2.0**p))[0] for s, p in zip(spectra, POWERS, strict=True)]
    grid = np.linspace(-5, 5, 2001, dtype=np.float32)
    curves = [
        curve_of(s, jnp.asarray(np.ldexp(grid, p)), jnp.asarray(2.0**p, jnp.float32))
        for s, p in zip(spectra, POWERS, strict=True)
    ]
    for i, power in enumerate(POWERS):
        (first, norm, *ranks, log), damped, numbers = got[i]
        (other, other_norm, *other_ranks, other_log), other_damped, other_numbers = got[0]
        for own, expected in ((first, other), (norm, other_norm)):
            assert_same(own, jax.tree.map(lambda x, p=power: np.ldexp(x, p), expected))
        assert_same((ranks, numbers), (other_ranks, other_numbers))
        assert_same((relative[i], absolute[i]), (relative[0], absolute[0]))
        np.testing.assert_array_equal(curves[i], np.ldexp(np.asarray(curves[0]), -power))
        # 100 eigenvalues: the logarithms shift, and are rounded.
        shift = 100 * power * np.log(2)
        for own, expected in ((log, other_log), (damped, other_damped)):
            np.testing.assert_allclose(own.value, expected.value + shift, rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(own.sem, expected.sem, rtol=1e-2)


def assert_same(got, expected):
    for own, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(own, other)


def test_rounding_does_not_count_as_an_eigenvalue():
    (*_, log), _, numbers = answers(by_hand([1e-9, 0.5, 20.0], [[0.2, 0.4, 0.4]]), 0.1)
    assert log.value == -np.inf
    np.testing.assert_allclose(numbers, [np.inf, 201], rtol=1e-5)


def test_a_matrix_of_zeros():
    (*others, log), _, numbers = answers(by_hand([0.0, 0.0], [[0.4, 0.6]], exhausted=True))
    assert [float(estimate.value) for estimate in others] == [0] * 4
    assert log.value == -np.inf
    np.testing.assert_array_equal(numbers, [np.inf, 1])


def test_nan():
    spectrum = by_hand([np.nan] * 5, [[0.2] * 5])
    for estimate in answers(spectrum)[0]:
        assert np.isnan(estimate.value)
    assert np.isnan(answers(spectrum)[2]).all()
    for rank in ranks_of(spectrum, 0.1):
        assert np.isnan([rank.value, rank.lower, rank.upper]).all()


def test_extremes_are_the_best_of_all_vectors():
    rng = np.random.default_rng(0)
    nodes = np.sort(rng.normal(size=(4, 6)), axis=1).astype(np.float32)
    residuals = rng.uniform(size=(4, 6)).astype(np.float32)
    spectrum = by_hand(np.zeros(6), np.full((4, 6), 1 / 6), order=6)
    spectrum = eqx.tree_at(
        lambda s: (s.nodes, s.residuals), spectrum, (jnp.asarray(nodes), jnp.asarray(residuals))
    )
    ends = eqx.filter_jit(extremes)(spectrum, count=3)
    np.testing.assert_array_equal(ends.largest, nodes[:, ::-1][:, :3].max(axis=0))
    np.testing.assert_array_equal(ends.smallest, nodes[:, :3].min(axis=0))
    for values, own in (
        (ends.largest, ends.largest_residuals),
        (ends.smallest, ends.smallest_residuals),
    ):
        for value, residual in zip(values, own, strict=True):
            assert residual == residuals[nodes == value]


@pytest.mark.usefixtures("float64")
def test_extremes_of_an_exact_spectrum_have_their_multiplicity():
    # Three zeros and three other eigenvalues, at four nodes.
    nodes = jnp.asarray([0.0, 0.5, 2.0, 3.0])
    spectrum = known_spectrum(nodes, jnp.asarray([3, 1, 1, 1]) / 6, 6)
    truth = np.array([0, 0, 0, 0.5, 2, 3])
    ends = eqx.filter_jit(extremes)(spectrum, count=6)
    np.testing.assert_allclose(ends.smallest, truth, atol=1e-12)
    np.testing.assert_allclose(ends.largest, truth[::-1], atol=1e-12)


def test_extremes_of_factors():
    pairs = [([0.0, 1.0, 4.0], [0.5, 3.0]), ([0.2, 5.0], [0.0, 2.0])]
    spectrum = KroneckerSpectrum(
        factors=tuple((jnp.asarray(a), jnp.asarray(b)) for a, b in pairs),
        tolerance=jnp.asarray(1e-6),
        dim=10,
    )
    truth = np.sort(np.concatenate([np.outer(a, b).ravel() for a, b in pairs]))
    ends = eqx.filter_jit(extremes)(spectrum, count=10)
    np.testing.assert_allclose(ends.largest, truth[::-1], rtol=1e-6)
    np.testing.assert_allclose(ends.smallest, truth, rtol=1e-6)
    np.testing.assert_allclose(ends.largest_residuals, 1e-6)
    few = eqx.filter_jit(extremes)(spectrum, count=3)
    np.testing.assert_allclose(few.largest, truth[:-4:-1], rtol=1e-6)
    np.testing.assert_allclose(few.smallest, truth[:3], rtol=1e-6)


def test_chosen_nodes_are_not_eigenvalues():
    spectrum = by_hand(NODES, WEIGHTS, gauss=False)
    ends = eqx.filter_jit(extremes)(spectrum)
    assert (ends.smallest.item(), ends.largest.item()) == (-3, 2)
    with pytest.raises(ValueError, match="`count` is 2, but must be at most 1, .* estimator"):
        extremes(spectrum, count=2)


def test_bad_arguments():
    spectrum = by_hand(NODES, WEIGHTS)
    with pytest.raises(ValueError, match="`count` is 6, but must be at most 5"):
        extremes(spectrum, count=6)
    with pytest.raises(ValueError, match="`count` is 0"):
        extremes(spectrum, count=0)
    with pytest.raises(ValueError, match="`count` is 4, but must be at most 3"):
        extremes(whole(np.ones(3, np.float32)), count=4)
    for question in (log_det, condition_number):
        with pytest.raises(ValueError, match="`damping` is -1.0, but must be finite and at least"):
            question(spectrum, damping=-1.0)


@pytest.mark.slow
def test_more_extremes_than_deflated_has_found():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="`count` is 3, but must be at most 2.*a higher order"):
        extremes(Deflated(order=2)(Matrix(np.eye(3)), key=key), count=3)
    with pytest.raises(ValueError, match="`count` is 4, but must be at most 3"):
        extremes(Dense()(Matrix(np.eye(3)), key=key), count=4)
