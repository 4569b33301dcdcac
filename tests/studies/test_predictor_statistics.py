"""The statistics of predictors, against SciPy, by hand and on planted truths."""

import itertools
import pathlib
import runpy
from typing import Any

import numpy as np
import pytest
import scipy.stats

from spectral.studies.predictors.statistics._bootstrap import (
    estimate,
    mean_of_runs,
    mean_of_seeds,
    seed_draws,
)
from spectral.studies.predictors.statistics._levels import (
    across_algorithms,
    across_seeds,
    given_trivial,
    within_runs,
)
from spectral.studies.predictors.statistics._order import ranks
from spectral.studies.predictors.statistics._reaching import (
    best_threshold,
    right_answers,
    roc_area,
)
from spectral.studies.predictors.statistics._significance import holm, seed_p_value
from spectral.studies.predictors.statistics._tau import partial_tau, spearman, tau_b
from spectral.studies.predictors.statistics._warnings import falls, warnings_of


ALL = np.ones((3, 5), bool)
ONCE = seed_draws(ALL, num_samples=0, seed=0)


def data(seed=0):
    """Two panels of 3 algorithms, 5 seeds and 8 checkpoints, with ties and missing values."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 3, 5, 8))
    y += x
    y[0], x[1, 2, 3:5] = np.round(y[0]), np.nan
    return x, y


def kendall(x, y) -> float:
    found: Any = scipy.stats.kendalltau(x, y)
    return found.statistic


def spear(x, y) -> float:
    found: Any = scipy.stats.spearmanr(x, y)
    return found.statistic


def known(x, y):
    both = ~(np.isnan(x) | np.isnan(y))
    return x[both], y[both]


def test_correlations_are_those_of_scipy():
    x, y = data()
    y[2, 1, 4] = -np.inf  # the outcome of a branch that diverged
    for at in np.ndindex(3, 5):
        pair = known(x[at], y[at])
        assert tau_b(x, y)[at] == pytest.approx(kendall(*pair))
        assert spearman(x, y)[at] == pytest.approx(spear(*pair))
    assert np.isnan(tau_b(np.ones(4), np.arange(4.0)))


def test_partial_tau_is_the_recursion_and_the_regression():
    """Kendall's formula for one control, applied again for a second and third; and the correlation
    of what a regression of the signs of pairs leaves."""
    x, y, *controls = np.random.default_rng(1).normal(size=(5, 9))
    x, y = x + controls[0], y + controls[0] - controls[2]

    def by_recursion(one, other, given):
        if not given:
            return kendall(one, other)
        *rest, last = given
        a, b, c = (by_recursion(*p, rest) for p in ((one, other), (one, last), (other, last)))
        return (a - b * c) / np.sqrt((1 - b**2) * (1 - c**2))

    pairs = list(itertools.combinations(range(9), 2))
    signs = lambda v: np.array([np.sign(v[i] - v[j]) for i, j in pairs])
    design = np.stack([signs(c) for c in controls], axis=1)
    left = [signs(v) - design @ np.linalg.lstsq(design, signs(v))[0] for v in (x, y)]
    found = partial_tau(x, y, controls)
    assert found == pytest.approx(by_recursion(x, y, controls))
    assert found == pytest.approx(left[0] @ left[1] / np.prod([np.linalg.norm(v) for v in left]))
    assert abs(found - kendall(x, y)) > 0.05
    # A control that says the same again changes nothing, and what it says leaves nothing.
    assert partial_tau(x, y, [*controls, 2 * controls[1]]) == pytest.approx(found)
    assert np.isnan(partial_tau(np.exp(controls[0]), y, controls))
    assert partial_tau(x, y, []) == pytest.approx(kendall(x, y))


def test_levels():
    x, y = data()
    tau = lambda a, b: kendall(*known(a, b))
    rho = lambda a, b: spear(*known(a, b))
    runs = list(np.ndindex(3, 5))
    drawn, by_rank = within_runs(x, y, ONCE)
    assert drawn[0] == pytest.approx(np.mean([tau(x[r], y[r]) for r in runs]))
    assert by_rank == pytest.approx(np.mean([rho(x[r], y[r]) for r in runs]))
    means = [
        [np.mean([np.mean(known(v[a, s], w[a, s])[0]) for s in range(5)]) for a in range(3)]
        for v, w in ((x, y), (y, x))
    ]
    drawn, by_rank = across_algorithms(x, y, ONCE)
    assert (drawn[0], by_rank) == pytest.approx(
        (tau(*map(np.array, means)), rho(*map(np.array, means)))
    )
    drawn, by_rank = across_seeds(x, y, ONCE)
    cells = [(x[a, :, c], y[a, :, c]) for a in range(3) for c in range(8)]
    cells = [cell for cell in cells if len(set(known(*cell)[1])) > 1]
    assert drawn[0] == pytest.approx(np.mean([tau(*cell) for cell in cells]))
    assert by_rank == pytest.approx(np.mean([rho(*cell) for cell in cells]))
    controls = [np.broadcast_to(np.arange(8.0), x.shape)]
    partials = [partial_tau(x[r], y[r], [controls[0][r]]) for r in runs]
    assert given_trivial(x, y, controls, ONCE)[0] == pytest.approx(np.mean(partials))


def test_draws_are_of_seeds_within_algorithms():
    """Each draw is what the statistic is for the runs that were drawn, one after the other."""
    x, y = data()
    present = np.array(ALL)
    present[1, 4] = False
    x[1, 4] = np.nan
    weights = seed_draws(present, num_samples=200, seed=0)
    assert (weights.sum(2) == [5, 4, 5]).all()
    assert (weights[:, 1, 4] == 0).all()
    assert len(np.unique(weights[1:, 0], axis=0)) > 50
    drawn = [np.repeat(np.arange(5), weights[7, a].astype(int)) for a in range(3)]
    chosen = [np.concatenate([v[a, drawn[a]] for a in (0, 2)]) for v in (x, y)]
    rest = [v[1, drawn[1]] for v in (x, y)]
    runs = list(zip(*chosen, strict=True)) + list(zip(*rest, strict=True))
    expected = np.mean([kendall(*known(*run)) for run in runs])
    assert within_runs(x, y, weights)[0][7] == pytest.approx(expected)
    # Pairs of one run with itself have no sign.
    a, b = x[0, drawn[0]], y[0, drawn[0]]
    own = [kendall(a[:, c], b[:, c]) for c in range(8)]
    only = np.where(np.arange(3)[:, None, None] == 0, x, np.nan)
    assert across_seeds(only, y, weights)[0][7] == pytest.approx(np.nanmean(own))


def test_means_with_infinite_outcomes():
    values = np.array([[1.0, -np.inf, 3.0]])
    weights = np.array([[[1.0, 0.0, 1.0]], [[1.0, 1.0, 1.0]]])
    assert mean_of_seeds(values, weights)[:, 0].tolist() == [2.0, -np.inf]


@pytest.mark.slow
def test_intervals_cover_the_mean():
    """Of 6 algorithms with 4 seeds: within two standard errors of 95 % or above."""
    present, rng, covered = np.ones((6, 4), bool), np.random.default_rng(0), []
    level = np.arange(6.0)[:, None]  # of the algorithms, which are fixed
    for i in range(400):
        values = level + rng.normal(size=(6, 4))
        drawn = mean_of_runs(values, seed_draws(present, num_samples=400, seed=i))
        found = estimate(drawn, present)
        covered.append(found.low <= level.mean() <= found.high)
    assert np.mean(covered) >= 0.95 - 0.022
    assert np.mean(covered) <= 0.95 + 0.03


def test_ranks_and_ties():
    """A difference whose interval contains 0 is a tie, however far apart the numbers are."""
    base = np.concatenate([[0.5], np.linspace(0.2, 0.8, 99)])
    noisy = np.concatenate([[0.4], np.linspace(0.8, 0.1, 99)])
    within = {"a": base, "b": base - 0.01, "c": noisy, "d": base - 2, "none": base * np.nan}
    assert ranks(within, ALL) == {"a": 1, "b": 2, "c": 1, "d": 4, "none": None}
    points = {name: drawn[:1] for name, drawn in within.items()}
    assert ranks(points, ALL) == {"a": 1, "b": 2, "c": 3, "d": 4, "none": None}


def test_p_value_of_exchanged_seeds():
    """Against all exchanges, of 2 algorithms with 3 seeds."""
    x, y = np.random.default_rng(4).normal(size=(2, 2, 3, 4))
    tau = lambda a, b: kendall(a, b)

    def statistic(orders):
        exchanged = [y[a, list(order)] for a, order in enumerate(orders)]
        return np.mean([tau(x[a, :, c], exchanged[a][:, c]) for a in range(2) for c in range(4)])

    orders = list(itertools.permutations(range(3)))
    all_of_them = [statistic(pair) for pair in itertools.product(orders, orders)]
    exact = np.mean(np.abs(all_of_them) >= abs(all_of_them[0]) - 1e-9)
    found = seed_p_value(x, y, np.ones((2, 3), bool), num=9999, seed=0)
    assert found == pytest.approx(exact, abs=0.015)


def test_p_value_ignores_trends_and_runs_that_are_not_there():
    rng = np.random.default_rng(0)
    falling = -np.arange(12.0)
    x, y = falling + 0.1 * rng.normal(size=(2, 3, 5, 12))
    assert within_runs(x, y, ONCE)[0][0] > 0.95
    assert seed_p_value(x, y, ALL, num=999, seed=0) > 0.05
    assert seed_p_value(np.exp(-y), y, ALL, num=999, seed=0) == 0.001
    less = np.where(np.arange(5)[:, None] < 1, y, np.nan)
    assert np.isnan(seed_p_value(y, less, ALL & (np.arange(5) < 1), num=99, seed=0))
    assert np.isnan(seed_p_value(np.ones_like(y), y, ALL, num=99, seed=0))


def test_holm():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": np.nan})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": np.nan}, nan_ok=True)
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_roc_area_by_algorithm():
    x, y = data()
    reached = np.where(np.isnan(y), np.nan, y > 0.2)
    x = x + 10 * np.arange(3)[:, None, None]  # nothing between algorithms is compared
    ordered, pairs = 0.0, 0
    for a in range(3):
        keep = ~np.isnan(x[a])
        yes, no = x[a][keep & (reached[a] == 1)], x[a][keep & (reached[a] == 0)]
        ordered += scipy.stats.mannwhitneyu(yes, no).statistic
        pairs += len(yes) * len(no)
    assert roc_area(x, reached, ONCE)[0] == pytest.approx(ordered / pairs)
    assert np.isnan(roc_area(x, np.ones_like(x), ONCE)[0])


def test_threshold():
    x, reached = np.array([[[1.0, 2, 3, 4, 5]]]), np.array([[[0.0, 0, 1, 0, 1]]])
    assert best_threshold(x, reached) == 3.0
    assert right_answers(x, reached, 3.0) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(best_threshold(x, np.ones_like(x)))
    assert np.isnan(right_answers(x, reached, np.nan))


def test_falls_and_false_alarms():
    """Of four runs the outcome falls in two, one and two checkpoints after the sign; the sign
    falls in a third; a run with five checkpoints says nothing."""
    step = lambda at: np.where(np.arange(20) < at, 1.0, 0.0) + 1e-3 * np.arange(20)
    steady = 1e-3 * np.arange(20)
    short = np.where(np.arange(20) < 6, step(3), np.nan)
    sign = np.stack([step(9), step(8), step(9), steady, short])[None]
    outcome = np.stack([step(10), step(10), steady, steady, short])[None]
    tasks = 3 * np.arange(20)
    fallen = falls(outcome, tasks)
    assert fallen.tolist() == [[30, 30, np.inf, np.inf, pytest.approx(np.nan, nan_ok=True)]]
    found = warnings_of(falls(sign, tasks), fallen, np.ones((1, 1, 5)))
    assert found.lead[0] == pytest.approx(4.5)  # 3 and 6 tasks
    assert found[1:] == (2, 2, 1, 2)


@pytest.mark.slow
def test_planted_truth():
    """False positives within two standard errors of 5 %, and the planted sign in 80 % at least."""
    path = pathlib.Path(__file__).parents[2] / "benchmarks" / "predictors.py"
    found = runpy.run_path(str(path))["rates"](150, num=499, seed=1)
    assert found["any noise sign found"] <= 0.05 + 0.036
    assert found["one noise sign, its own p-value"] <= 0.05 + 0.02
    assert found["power, planted"] >= 0.8
    assert found["one noise sign, naive test"] > 0.5
