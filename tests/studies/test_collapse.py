"""The test of a collapse and its interval, and lead times over seeds."""

import inspect
import itertools

import numpy as np
import pytest
import scipy.stats

from spectral.studies import collapse_task, collapse_test, lead_time
from spectral.studies.analysis._drops import blocks


def noisy(seed, size=0.5, level=1.0):
    """Thirty tasks, with another level from task 15 on."""
    noise = np.random.default_rng(seed).normal(size=30)
    return np.exp(size * noise) * np.repeat([1.0, level], 15)


def rates(level, num_series, num_permutations):
    """The fractions of series that are found, and of intervals that contain task 15."""
    results = [
        collapse_test(noisy(s, level=level), num_permutations=num_permutations)
        for s in range(num_series)
    ]
    covered = [r.low <= 15 <= r.high for r in results]
    return np.mean([r.found for r in results]), np.mean(covered)


def test_noise_is_not_flagged_and_halvings_are():
    """`collapse_task` flags the first series, at its end. It finds half of the halvings."""
    assert collapse_task(noisy(4)) == 29
    assert collapse_test(noisy(4)).p_value > 0.2
    found, covered = rates(0.5, 40, 200)
    assert found >= 0.75
    assert covered >= 0.9
    assert rates(1.0, 40, 200)[0] <= 0.15


@pytest.mark.slow
def test_rates_are_those_promised():
    """At the rejection level 0.05, each within two standard deviations of 800 series."""
    found, covered = rates(0.5, 800, 400)
    assert found >= 0.8
    assert covered >= 0.95 - 0.016
    assert rates(1.0, 800, 400)[0] <= 0.05 + 0.016


def largest_drop(ranks):
    """The largest standardised difference of mean ranks, by its definition."""
    n = len(ranks)
    splits = range(3, n - 2)
    deviation = [np.std(ranks) * np.sqrt(n / (k * (n - k))) for k in splits]
    drops = [sum(ranks[:k]) / k - sum(ranks[k:]) / (n - k) for k in splits]
    return max(np.array(drops) / deviation)


def test_p_value_against_all_orders():
    """Also with equal values. A measurement at task 0 and tasks without one do not count."""
    values = [5.0, 3.0, 6.0, 2.0, 3.0, 1.0, 4.0]
    series = np.array([-9.0, *values[:4], np.nan, *values[4:]])
    ranks = scipy.stats.rankdata(values)
    orders = [largest_drop(order) for order in set(itertools.permutations(ranks))]
    exact = np.mean(np.array(orders) >= largest_drop(ranks) - 1e-12)
    found = collapse_test(series, num_permutations=9999)
    assert found.p_value == pytest.approx(exact, abs=0.015)
    assert found.task == 4
    assert found.low == found.task  # three values on each side: only one more split
    assert found.high in (4, 6)
    assert found.ratio == pytest.approx(2.5 / 5)


def test_p_value_of_a_late_drop():
    """Against orders drawn here. Without the weights of the splits the drop is hardly seen."""
    series = noisy(2)
    series[26:] *= 0.35
    ranks, rng = scipy.stats.rankdata(series[1:]), np.random.default_rng(2)
    drawn = [largest_drop(rng.permutation(ranks).tolist()) for _ in range(1000)]
    expected = np.mean(np.array(drawn) >= largest_drop(ranks.tolist()) - 1e-12)
    found = collapse_test(series)
    assert found.p_value == pytest.approx(expected, abs=0.015)
    assert found.found
    assert found.low <= 26 <= found.high


def test_a_clear_drop():
    noise = np.random.default_rng(0).uniform(0, 0.1, 30)
    series = np.repeat([10.0, 2.0], [20, 10]) + noise
    series[5], series[25] = 1.0, 12.0  # single values do not matter
    found = collapse_test(series, floor=1.0)
    assert found.found
    assert (found.task, found.low <= 20 <= found.high, found.high - found.low < 9) == (
        20,
        True,
        True,
    )
    assert found.ratio == pytest.approx(1 / 9, rel=0.1)
    # The test knows only the order of the values.
    again = collapse_test(np.log(series) - 7)
    assert (again.p_value, again.task, again.low) == (found.p_value, found.task, found.low)
    assert np.isnan(again.ratio)  # the level is not above 0
    # A rise is not a collapse.
    assert collapse_test(-series).p_value > 0.5


def test_series_without_a_verdict():
    constant = collapse_test(np.ones(30))
    assert (constant.p_value, constant.found, constant.autocorrelation) == (1.0, False, 0.0)
    assert (constant.low, constant.high) == (4, 27)  # any task
    for series in (np.full(30, np.nan), np.arange(6.0), np.zeros(0)):
        few = collapse_test(series)
        assert np.isnan(few.p_value)
        assert not few.found


def test_autocorrelation_is_that_around_the_two_levels():
    slow = np.tile([1.0, 1.1, 1.2, 1.3, 1.3, 1.2, 1.1, 1.0], 4) * np.repeat([9.0, 1.0], 16)
    assert collapse_test(slow).autocorrelation > 0.5
    assert abs(collapse_test(noisy(3, level=0.01)).autocorrelation) < 0.4


def test_lead_times_against_their_definition():
    first = np.array([10.0, 20.0, 30.0, 40.0, 50.0, np.nan, 5.0, np.nan])
    second = first + np.array([3.0, 8.0, -2.0, 6.0, 5.0, 0.0, np.nan, np.nan])
    second[5] = 30.0
    found = lead_time(first, second)
    assert found.mean == 4.0
    assert (found.both, found.first_only, found.second_only, found.neither) == (5, 1, 1, 1)


def test_interval_of_lead_times_is_that_for_students_t():
    """The percentiles of means of seeds drawn with replacement, wider by Student's t."""
    leads = np.array([3.1, 8.4, -2.2, 6.7, 5.3, 12.9, 0.5, 4.6])
    found = lead_time(np.zeros(8), leads, num_samples=99_999)
    means = np.random.default_rng(1).choice(leads, (200_000, 8)).mean(axis=1)
    tail = scipy.stats.norm.cdf(-np.sqrt(8 / 7) * scipy.stats.t.ppf(0.975, 7))
    expected = np.quantile(means, [tail, 1 - tail])
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.12)
    narrow = np.quantile(means, float(scipy.stats.norm.cdf(-scipy.stats.t.ppf(0.975, 7))))
    assert found.low < narrow - 0.15


def test_lead_times_of_few_seeds():
    two = lead_time(np.zeros(2), np.array([1.0, 5.0]))
    assert (two.mean, two.low, two.high) == (3.0, 1.0, 5.0)
    one = lead_time(np.array([1.0, np.nan]), np.array([3.0, 4.0]))
    assert (one.mean, one.both, one.second_only) == (2.0, 1, 1)
    assert np.isnan(one.low)
    assert np.isnan(lead_time(np.full(3, np.nan), np.zeros(3)).mean)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`rejection_level` is 1.0, but must be above 0 and below"):
        collapse_test(np.ones(9), rejection_level=1.0)
    with pytest.raises(ValueError, match="`num_permutations` is 100, but must be at least 1000"):
        collapse_test(np.ones(9), rejection_level=0.01, num_permutations=100)
    with pytest.raises(ValueError, match="`first` has 2 seeds and `second` has 3, but must agree"):
        inspect.unwrap(lead_time)(np.ones(2), np.ones(3))
    several = np.ones((3, 20))
    for function, name in ((collapse_test, "series"), (collapse_task, "series")):
        with pytest.raises(ValueError, match=rf"`{name}` has the shape \[3, 20\], .*one axis"):
            function(several)
    with pytest.raises(ValueError, match=r"`second` has the shape \[3, 20\]"):
        lead_time(np.ones(3), several)


def test_lists_are_series():
    series = [1.0, 9, 8, 9, 7, 2, 1, 2, 1]
    as_array = np.array(series)
    assert collapse_test(series) == collapse_test(as_array)
    assert collapse_task(series) == collapse_task(as_array) == 5
    assert lead_time([3, 4], [5.0, 6.0]).mean == 2


def test_long_series_are_tested_in_blocks():
    """A summary of 20,000 tasks takes as long as one of 100."""
    series = np.full(1003, np.nan)
    series[::2] = np.arange(502.0)  # task 0 and 501 others: 83 blocks of 6, and 3 at the start
    found = blocks(series)
    tasks = np.flatnonzero(np.isfinite(found))
    assert len(tasks) == 83
    assert list(tasks[:2]) == [8, 20]
    assert list(found[tasks[:2]]) == [6.5, 12.5]
    assert found[tasks[-1]] == 498.5
    short = np.arange(101.0)
    assert blocks(short) is short
    long = np.random.default_rng(0).normal(size=20_000) + np.repeat([4.0, 2.0], 10_000)
    test = collapse_test(blocks(long))
    assert test.found
    assert test.low <= 10_000 <= test.high
    assert test.high - test.low <= 600
