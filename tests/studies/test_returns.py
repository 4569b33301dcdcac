"""Measures and figures of episode returns."""

import pathlib

import numpy as np
import pytest
from recorded_history import recorded

from spectral.studies.figures._returns_figure import draw_returns
from spectral.studies.measures._measure import measures
from spectral.studies.runs._results import Member, Results


def member(returns: np.ndarray, parameter: np.ndarray, seed: int = 0) -> Member:
    history = recorded(
        {
            "episode_return": returns,
            "parameter": parameter,
            "evaluation_return": np.arange(len(returns), dtype=float),
        }
    )
    return Member("bp", seed, "finished", "", history)


def results(*members: Member) -> Results:
    stream = {"type": "PPO", "steps_per_rollout": 100}
    settings = {"stream": stream, "algorithms": {"bp": {}}, "probes": {}, "seeds": len(members)}
    return Results(pathlib.Path("nowhere"), settings, members)


RETURNS = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [5.0, 6.0, 7.0]])
PARAMETER = np.array([[0.5, 0.5, 0.5], [0.5, 2.0, 2.0], [2.0, 2.0, 2.0]])


def test_measures_of_returns():
    found = measures(member(RETURNS, PARAMETER).history)
    np.testing.assert_array_equal(found["episode return"].series, [2.0, np.nan, 6.0])
    assert found["episode return"].when == "whole"
    np.testing.assert_array_equal(found["evaluation return"].series, [0.0, 1.0, 2.0])
    assert found["evaluation return"].when == "end"


def test_returns_over_steps():
    figure = draw_returns(results(member(RETURNS, PARAMETER), member(RETURNS + 2, PARAMETER, 1)))
    assert figure is not None
    above, below = figure.axes
    line, *others = above.lines
    seeds, marks = others[:2], others[2:]
    assert [np.asarray(seed.get_ydata())[0] for seed in seeds] == [1, 3]
    # The mean over the seeds, without the rollouts in which no episode ended.
    np.testing.assert_array_equal(line.get_xdata(), [100, 300, 700, 800, 900])
    np.testing.assert_array_equal(line.get_ydata(), [2, 4, 6, 7, 8])
    # The parameter changed once, in the rollout after step 400.
    assert [np.asarray(mark.get_xdata())[0] for mark in marks] == [400]
    np.testing.assert_array_equal(below.lines[0].get_ydata(), PARAMETER.reshape(-1))


def test_many_rollouts_are_averaged():
    returns = np.arange(300.0).reshape(3, 100)
    drifting = np.geomspace(0.1, 1.0, 300).reshape(3, 100)
    figure = draw_returns(results(member(returns, drifting)))
    assert figure is not None
    (line,) = figure.axes[0].lines  # no marks, because the parameter changes in every rollout
    np.testing.assert_allclose(np.asarray(line.get_ydata()), np.arange(0.5, 300, 2))
    assert np.asarray(line.get_xdata())[0] == 200


@pytest.mark.parametrize("members", [(), (Member("bp", 0, "finished", "", recorded({})),)])
def test_no_figure_without_episodes(members):
    assert draw_returns(results(*members)) is None
