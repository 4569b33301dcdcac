"""Lemma B.1 and Theorem 6.5, as printed and corrected: properties, counterexamples, coverage."""

import equinox as eqx
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from scipy.stats import binom
from theory_networks import hessian, network, squared_error, taps_of
from theory_profile import broken, COUNTS, Tally, tried

from spectral import theory
from spectral.models import MLP
from spectral.theory import strategies


def ball(rng, points, dim, radius=1.0):
    """Uniform in the ball."""
    directions = rng.normal(size=(points, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return radius * directions * rng.random((points, 1)) ** (1 / dim)


@pytest.mark.parametrize("dim", [1, 2, 3, 8])
def test_overlap_of_balls_by_counting(dim):
    rng = np.random.default_rng(dim)
    points = ball(rng, 200_000, dim, radius=2.0)
    for reach, distance in [(0.6, 0.3), (0.6, 1.7), (1.5, 2.0), (2.5, 0.2), (2.5, 1.9), (1.0, 3.5)]:
        centre = np.zeros(dim)
        centre[0] = distance
        count = int(np.sum(np.linalg.norm(points - centre, axis=1) <= reach))
        found = theory.ball_overlap(reach, distance, dim, radius=2.0)
        interval = theory.proportion(count, len(points), confidence=1 - 1e-6)
        assert interval.lower <= found <= interval.upper, (reach, distance)


def test_overlap_of_balls_in_closed_form():
    # An interval around a point of another.
    for reach, distance in [(0.5, 1.0), (0.5, 0.2), (3.0, 1.0), (0.5, 1.4), (0.0, 0.5)]:
        expected = max(0.0, min(1, distance + reach) - max(-1, distance - reach)) / 2
        found = theory.ball_overlap(reach, distance, 1)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    # Two unit discs whose centres are 1 apart: 2 pi / 3 - sqrt(3) / 2 of pi.
    np.testing.assert_allclose(theory.ball_overlap(1.0, 1.0, 2), 2 / 3 - 3**0.5 / (2 * np.pi))
    # What the corrected bound rests on.
    for dim in (1, 2, 10, 100):
        for reach in (0.1, 0.7, 1.5):
            overlap = theory.ball_overlap(reach, np.linspace(0, 1, 50), dim)
            assert (overlap >= (reach / 2) ** dim * (1 - 1e-9)).all()
            assert (overlap <= min(reach, 1.0) ** dim * (1 + 1e-9)).all()


def overlap_by_slices(reach, distance, dim):
    """Both balls cut into balls of one dimension less, whose volumes are added up."""
    log_beta = scipy.special.betaln((dim + 1) / 2, 0.5)

    def integral(low, high, squared_radius):
        step = (high - low) / 20_000
        t = low + step * (np.arange(20_000) + 0.5)
        logs = (dim - 1) / 2 * np.log(squared_radius(t))
        return scipy.special.logsumexp(logs) + np.log(step) - log_beta

    plane = (distance**2 + 1 - reach**2) / (2 * distance)
    of_ball = integral(plane, 1.0, lambda t: 1 - t**2)
    of_reach = integral(distance - reach, plane, lambda t: reach**2 - (t - distance) ** 2)
    return np.exp(np.logaddexp(of_ball, of_reach))


def test_overlap_of_balls_in_high_dimensions():
    """Here a power of the reach overflows, and the fraction of a cap underflows."""
    for reach, distance, dim in [(1.4, 0.99, 3072), (1.41, 1.0, 3072), (1.2, 0.9, 784)]:
        found = theory.ball_overlap(np.float64(reach), distance, dim)
        np.testing.assert_allclose(found, overlap_by_slices(reach, distance, dim), rtol=1e-4)
    assert theory.ball_overlap(1.4, 0.3, 3072) == 1
    # The mean over the law of the distance, by its quantiles.
    quantiles = ((np.arange(200) + 0.5) / 200) ** (1 / 3072)
    misses = [(1 - overlap_by_slices(1.39, d, 3072)) ** 200 for d in quantiles]
    found = theory.hausdorff_union_bound(np.float64(1.39), 200, 3072)
    np.testing.assert_allclose(found, 400 * np.mean(misses), rtol=1e-3)
    assert theory.hausdorff_union_bound(np.float64(4.0), 100, 784) == 0


def covered(rng, draws, points, dim, bound):
    """In how many draws of two sets of points their Hausdorff distance is at most the bound."""
    x, y = (ball(rng, draws * points, dim).reshape(draws, points, dim) for _ in range(2))
    pairs = np.linalg.norm(x[:, :, None] - y[:, None], axis=3)
    each = np.maximum(pairs.min(axis=1).max(axis=1), pairs.min(axis=2).max(axis=1))
    return theory.proportion(int(np.sum(each <= bound)), draws, confidence=0.999)


@pytest.mark.parametrize(
    ("points", "dim", "delta", "probability"),
    [(3, 2, 0.299, 0.623), (2, 3, 0.542, 0.370), (10, 1, 0.01, 1 - 0.0122)],
)
def test_lemma_b1_as_printed_is_false(points, dim, delta, probability):
    """Where its bound is at most r, as its proof requires, and also in one dimension."""
    bound = theory.as_printed.hausdorff_bound(points, dim, delta)
    assert bound <= 1
    truth = covered(np.random.default_rng(0), 60_000, points, dim, bound)
    assert truth.upper < 1 - delta
    assert abs(float(truth.value) - probability) < 0.005
    # The probability with which a unit with this radius stays dead, by (14) and corrected.
    printed = theory.as_printed.persistence_bound(np.array([bound]), points, dim)
    assert printed == pytest.approx(1 - delta)
    assert theory.persistence_bound(np.array([bound]), points, dim) <= truth.lower
    assert theory.hausdorff_union_quantile(points, dim, delta) > bound


def distances(rng, draws, points, dim):
    sets = ((ball(rng, points, dim), ball(rng, points, dim)) for _ in range(draws))
    return np.array([[theory.directed_hausdorff(a, b), theory.hausdorff(a, b)] for a, b in sets])


def violations_are_rare(violations, draws, delta):
    """No more than independent failures of probability delta would give in all but 1e-6 cases."""
    return violations <= binom.ppf(1 - 1e-6, draws, delta)


@pytest.mark.parametrize("dim", [1, 2, 5, 20])
def test_coverage_of_lemma_b1(dim):
    draws, points, delta = 100, 50, 0.1
    found = distances(np.random.default_rng(dim), draws, points, dim)
    one, both = found[:, 0], found[:, 1]
    printed = theory.as_printed.hausdorff_bound(points, dim, delta)
    corrected = theory.hausdorff_bound(points, dim, delta)
    directed = theory.hausdorff_bound(points, dim, delta, directed=True)
    assert violations_are_rare(np.sum(both > corrected), draws, delta)
    assert violations_are_rare(np.sum(one > directed), draws, delta)
    assert directed < corrected or corrected == 2.0
    assert corrected <= 2 * printed
    quantile = theory.hausdorff_union_quantile(points, dim, delta)
    assert violations_are_rare(np.sum(both > quantile), draws, delta)
    assert both.mean() < quantile < corrected
    if dim >= 5:
        assert np.sum(both > printed) > 0.9 * draws
    # The union bound lies between the truth and the corrected bound.
    middle = float(np.median(both))
    for probability, sides in ((np.mean(both > middle), False), (np.mean(one > middle), True)):
        bound = theory.hausdorff_union_bound(middle, points, dim, directed=sides)
        assert theory.proportion(round(probability * draws), draws).lower <= bound
    at_corrected = theory.hausdorff_union_bound(corrected, points, dim)
    assert at_corrected <= delta * (1 + 1e-9)


def test_union_bound_against_a_simulation():
    """Only the union over points is loose: about 0.38 instead of 0.25 in the plane."""
    rng = np.random.default_rng(3)
    found = distances(rng, 200, 100, 2)[:, 1]
    reach = float(np.quantile(found, 0.75))
    bound = theory.hausdorff_union_bound(reach, 100, 2)
    assert 0.25 < bound < 0.6
    assert theory.hausdorff_union_bound(0.0, 100, 2) == 1.0
    assert theory.hausdorff_union_bound(2.0, 100, 2) == 0.0


def test_quantile_of_the_union_bound():
    """In 784 dimensions it is close to the distances that occur, near 1.361; the corrected form is
    close to the diameter, 2."""
    high = theory.hausdorff_union_quantile(300, 784, 0.1)
    assert high == pytest.approx(1.3638, abs=1e-4)
    assert theory.hausdorff_bound(300, 784, 0.1) == pytest.approx(1.991, abs=1e-3)
    found = theory.hausdorff_union_quantile(20, 3, 0.1, radius=5.0, directed=True)
    at = lambda distance: theory.hausdorff_union_bound(distance, 20, 3, radius=5.0, directed=True)
    assert at(found) <= 0.1 < at(found - 1e-7)
    assert found < theory.hausdorff_union_quantile(20, 3, 0.1, radius=5.0)
    # One interval, one point in each set: |x - y| > d has the probability (1 - d / 2)^2.
    exact = 2 * (1 - 0.05**0.5)
    assert theory.hausdorff_union_quantile(1, 1, 0.05, directed=True) == pytest.approx(exact)
    with pytest.raises(ValueError, match="`delta` is 1"):
        theory.hausdorff_union_quantile(20, 3, 1.0)


def test_persistence_bounds_follow_from_the_distance():
    radii = np.array([-0.5, 0.0, 0.3, 0.9, 1.5, 2.0, np.inf])
    for dim in (1, 3):
        p = theory.persistence_bound(radii, 40, dim)
        printed = theory.as_printed.persistence_bound(radii, 40, dim)
        assert p[:2].tolist() == printed[:2].tolist() == [0, 0]
        assert p[-2:].tolist() == [1, 1]
        assert (np.diff(p) >= 0).all()
        # p is 1 - delta at the distance that the bound gives for delta.
        reach = theory.hausdorff_bound(40, dim, 0.1, directed=True)
        np.testing.assert_allclose(theory.persistence_bound(np.array([reach]), 40, dim), 0.9)
        reach = theory.as_printed.hausdorff_bound(40, dim, 0.1)
        np.testing.assert_allclose(
            theory.as_printed.persistence_bound(np.array([reach]), 40, dim), 0.9
        )
    # In proportion to the radius of the ball.
    np.testing.assert_allclose(
        theory.persistence_bound(3 * radii, 40, 2, radius=3.0),
        theory.persistence_bound(radii, 40, 2),
    )


def test_tail_given_the_first_task():
    """V^N against the distances of whole sets of new points from one given set."""
    rng = np.random.default_rng(5)
    old, size = ball(rng, 30, 2), 20
    tail = theory.HausdorffTail(old, ball(rng, 40_000, 2), num_examples=size)
    drawn = [theory.directed_hausdorff(ball(rng, size, 2), old) for _ in range(1000)]
    at = np.quantile(drawn, [0.1, 0.5, 0.9])
    found = tail.at_most(at)
    truth = theory.persistence_probabilities(at, np.array(drawn))
    assert (found.lower <= truth + 0.05).all()
    assert (truth - 0.05 <= found.upper).all()
    assert (found.upper - found.lower < 0.06).all()
    np.testing.assert_allclose(tail.exceeds(at).value, 1 - found.value)
    np.testing.assert_allclose(tail.exceeds(at).upper, 1 - found.lower)
    ties = theory.HausdorffTail(np.zeros((1, 1)), np.array([[1.0], [2.0]]), num_examples=1)
    assert ties.at_most(np.array([1.0, 2.0])).value.tolist() == [0.5, 1.0]
    assert tail.at_most(-1.0).value == 0
    assert tail.at_most(np.inf).value == 1
    # One point in each set: the neighbourhood of a point is a ball.
    one = theory.HausdorffTail(np.zeros((1, 3)), ball(rng, 40_000, 3), num_examples=1)
    inside = one.at_most(0.7, confidence=1 - 1e-6)
    assert inside.lower <= 0.7**3 <= inside.upper


# The law of a comonotone sum: p sorted, and one uniform number that all indicators compare.
@COUNTS
def test_forms_of_theorem_6_5_on_comonotone_indicators(count):
    """The exact form is the probability; Cantelli with the true variance is above it."""
    tally = Tally()

    @tried(count, strategies.probabilities(num_units=6), st.integers(0, 8))
    def holds(p, most):
        # All p are sixteenths, so this sum over sixteen values of the uniform number is exact.
        uniform = (np.arange(16) + 0.5) / 16
        s = np.sum(uniform[:, None] < p[None], axis=1)
        truth = np.mean(s <= most)
        exact = theory.trainability_bound(p, most, num_units=8)
        assert exact == truth
        np.testing.assert_allclose(theory.comonotone_variance(p), np.var(s), atol=1e-12)
        applies, cantelli = p.sum() > most, 1.0
        if applies:
            cantelli = theory.cantelli_comonotone(p, most, num_units=8)
            assert truth <= cantelli + 1e-12
            chebyshev = np.var(s) / (p.sum() - most) ** 2
            assert cantelli <= chebyshev + 1e-12
            # A lower bound on every p is an upper bound on the probability.
            assert exact <= theory.trainability_bound(p / 2, most, num_units=8)
        tally.add(applies, tight=applies and cantelli <= 3 * truth)

    tally.at_least(applies=0.35, tight=0.6)


@pytest.mark.parametrize(
    "form", [theory.cantelli_independent, theory.as_printed.trainability_bound]
)
def test_false_forms_are_detected(form):
    @broken(strategies.probabilities(num_units=6), st.integers(0, 8))
    def holds(p, most):
        uniform = (np.arange(16) + 0.5) / 16
        truth = np.mean(np.sum(uniform[:, None] < p[None], axis=1) <= most)
        try:
            bound = form(p, most, num_units=8)
        except ValueError:  # its hypothesis fails
            return
        assert truth <= bound + 1e-12


def test_theorem_6_5_as_printed_is_false_for_a_network():
    """Of ten units five certainly stay dead and eight may be: the network is tau-trainable, but
    the printed bound says that it never is."""
    model = network(MLP, 3, 1, width=10, depth=1)
    bias = np.where(np.arange(10) < 5, -100.0, 0.5)
    model = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.asarray(bias))
    old, new = map(jnp.asarray, np.random.default_rng(0).normal(size=(2, 30, 3)))
    radii = theory.persistence_radii(model, old)["hidden_0"]
    xi = theory.remains_dead(radii, theory.directed_hausdorff(new, old))
    silent = (np.asarray(taps_of(model, new)["hidden_0"]) == 0).all(axis=0)
    assert xi.sum() == silent.sum() == 5
    matrix = hessian(model, new, jnp.asarray(np.ones((30, 1))), squared_error)
    s = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    rank, threshold = int(np.sum(s > 1e-4 * s[0])), 51 - 8 * 5
    assert theory.most_dead_units(model, threshold) == {"hidden_0": 8}
    assert theory.tau_trainable(rank, threshold)
    p = xi[xi].astype(float)
    assert theory.as_printed.trainability_bound(p, 8, num_units=10) == 0
    assert theory.trainability_bound(p, 8, num_units=10) == 1
    # With four dead units allowed it cannot be trainable, and the exact form says so.
    assert theory.trainability_bound(p, 4, num_units=10) == 0


def test_cantelli_for_independent_indicators_is_false_for_one_shift():
    """Two units stay dead together or not at all, so S <= 0 has probability 1/2 and not 1/3."""
    p = np.array([0.5, 0.5])
    assert theory.cantelli_independent(p, 0, num_units=2) == pytest.approx(1 / 3)
    assert theory.trainability_bound(p, 0, num_units=2) == 0.5
    assert theory.cantelli_comonotone(p, 0, num_units=2) == 0.5


def test_the_forms_under_real_shifts():
    """The probabilities of `HausdorffTail` in the exact form against simulated shifts."""
    rng = np.random.default_rng(7)
    old, size = ball(rng, 40, 2), 25
    shifts = np.array([theory.directed_hausdorff(ball(rng, size, 2), old) for _ in range(400)])
    radii = np.quantile(shifts, [0.95, 0.8, 0.6, 0.4, 0.1])
    tail = theory.HausdorffTail(old, ball(rng, 20_000, 2), num_examples=size)
    for most in range(6):
        truth = np.mean(np.sum(radii[None] >= shifts[:, None], axis=1) <= most)
        bound = theory.trainability_bound(tail.at_most(radii).lower, most, num_units=8)
        assert truth <= bound + 0.08
        assert bound <= truth + 0.12


def test_bad_arguments():
    p = np.array([0.5, 0.5])
    forms = [theory.trainability_bound, theory.cantelli_independent, theory.cantelli_comonotone]
    for form in (*forms, theory.as_printed.trainability_bound):
        with pytest.raises(ValueError, match=r"`probabilities` is \[1.5\], but must lie between 0"):
            form(np.array([1.5]), 0, num_units=4)
        for most in (-1, 5, np.nan):
            match = f"`most_dead` is {most}, but must lie between 0 and `num_units`, which is 4"
            with pytest.raises(ValueError, match=match):
                form(p, most, num_units=4)
        with pytest.raises(ValueError, match="`probabilities` has 2 entries, but `num_units` is 1"):
            form(p, 1, num_units=1)
    for form in forms[1:]:
        match = "`probabilities` is 1 and `most_dead` is 1, but .* hypothesis that the sum is above"
        with pytest.raises(ValueError, match=match):
            form(p, 1, num_units=4)
    match = "`probabilities` is 1 and n - m, .* is 3, but .* hypothesis that the sum is above n - m"
    with pytest.raises(ValueError, match=match):
        theory.as_printed.trainability_bound(p, 1, num_units=4)
    with pytest.raises(ValueError, match="`probabilities` is"):
        theory.comonotone_variance(np.array([-0.1]))
    for delta in (0, 1, 1.5):
        with pytest.raises(ValueError, match="`delta` is"):
            theory.hausdorff_bound(10, 2, delta)
    for function in (theory.hausdorff_bound, theory.as_printed.hausdorff_bound):
        with pytest.raises(ValueError, match="`num_examples` is 0"):
            function(0, 2, 0.1)
        with pytest.raises(ValueError, match="`dim` is 0"):
            function(10, 0, 0.1)
        with pytest.raises(ValueError, match="`radius` is 0"):
            function(10, 2, 0.1, radius=0)
    for function in (theory.persistence_bound, theory.as_printed.persistence_bound):
        with pytest.raises(ValueError, match="`num_examples` is 0"):
            function(p, 0, 2)
    with pytest.raises(ValueError, match="`distance` is -1"):
        theory.hausdorff_union_bound(-1, 10, 2)
    with pytest.raises(ValueError, match="`reach` is -1"):
        theory.ball_overlap(-1, 0.5, 2)
    with pytest.raises(ValueError, match="`num_examples` is 0"):
        theory.HausdorffTail(np.zeros((2, 2)), np.zeros((2, 2)), num_examples=0)
    tail = theory.HausdorffTail(np.zeros((2, 2)), np.zeros((2, 2)), num_examples=1)
    for function in (tail.at_most, tail.exceeds):
        with pytest.raises(ValueError, match="`distance` is nan, but NaN can be compared with"):
            function(np.nan)
    with pytest.raises(ValueError, match="`radii` is .* but NaN can be compared with nothing"):
        theory.persistence_probabilities(np.array([np.inf, np.nan]), np.ones(2))
    assert theory.persistence_probabilities(np.array([np.inf]), np.ones(2)) == 1
    with pytest.raises(ValueError, match="hypothesis of at least one point"):
        theory.HausdorffTail(np.zeros((0, 2)), np.zeros((2, 2)), num_examples=2)
