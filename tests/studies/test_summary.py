import json
import pathlib

import numpy as np
import pytest
import scipy.stats
from matplotlib.text import Text
from recorded_history import recorded

from spectral.studies import (
    collapse_task,
    Member,
    Results,
    summarise,
    table,
)
from spectral.studies.analysis._collapse import common_tasks
from spectral.studies.figures import _figures
from spectral.studies.measures._interval import student_half_width
from spectral.studies.measures._measure import measures


PROBES = {
    "d": {"type": "DeadUnits"},
    "r": {"type": "FeatureRank"},
    "h": {"type": "HessianSpectrum"},
    "w": {"type": "WeightNorm"},
}


def step(high, low, at, tasks=100):
    return np.where(np.arange(tasks) < at, high, low).astype(float)


@pytest.mark.parametrize("at", [20, 50, 97])
def test_collapse_of_a_step(at):
    assert collapse_task(step(1.0, 0.1, at)) == at


def test_collapse_must_last_until_the_end():
    series = step(1.0, 0.1, 40)
    series[70:80] = 1.0
    assert collapse_task(series) == 80
    series[-3:] = 1.0
    assert np.isnan(collapse_task(series))


def test_collapse_survives_single_values():
    series = step(1.0, 0.1, 40)
    series[[10, 11]] = 0.0
    series[[60, 61, 75]] = 1.0
    assert collapse_task(series) == 40


def test_no_collapse():
    assert np.isnan(collapse_task(np.ones(100)))
    assert np.isnan(collapse_task(step(1.0, 0.5, 40)))  # half is not below half
    assert np.isnan(collapse_task(np.zeros(100)))  # never above the floor
    assert np.isnan(collapse_task(np.full(100, np.nan)))
    assert np.isnan(collapse_task(np.zeros(0)))
    assert np.isnan(collapse_task(step(0.1, 1.0, 40)))


def test_fraction_and_floor():
    series = step(0.9, 0.45, 40)
    assert np.isnan(collapse_task(series))
    assert collapse_task(series, fraction=0.6) == 40
    assert collapse_task(series, floor=0.1) == 40  # 0.35 is below half of 0.8
    assert np.isnan(collapse_task(step(0.1, 0.05, 40), floor=0.1))


def test_unmeasured_tasks_are_skipped():
    series = np.full(100, np.nan)
    series[::10] = step(1.0, 0.1, 4, tasks=10)
    assert collapse_task(series) == 40


def test_early_level_excludes_the_random_network():
    series = np.full(100, np.nan)
    series[::10] = 0.05
    series[0] = 0.2
    assert np.isnan(collapse_task(series))
    series[::50] = [0.2, 0.05]
    series[10:50] = series[60:] = np.nan
    assert np.isnan(collapse_task(series))


def test_early_level_spans_the_same_tasks_for_every_cadence():
    """The early level must not contain values after the collapse."""
    dense = step(1.0, 0.1, 30)
    sparse = np.full(100, np.nan)
    sparse[::5] = dense[::5]
    assert collapse_task(dense) == collapse_task(sparse) == 30


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_is_students(n):
    values = np.random.default_rng(0).normal(size=(n, 4))
    low, high = scipy.stats.t.interval(
        0.95, n - 1, loc=values.mean(axis=0), scale=scipy.stats.sem(values, axis=0)
    )
    assert student_half_width(values) == pytest.approx((high - low) / 2)


def test_interval_of_one_value():
    assert np.isnan(student_half_width(np.ones((1, 3)))).all()
    assert student_half_width(np.array([0.8, 0.9, 1.0])) == pytest.approx(0.2484, abs=1e-4)


def history(accuracy, tasks=20):
    sparse = np.full(tasks, np.nan)
    sparse[::2] = np.arange(tasks)[::2]
    return recorded(
        {
            "test_accuracy": np.full(tasks, accuracy),
            "online_accuracy": np.stack([np.full(tasks, accuracy), np.zeros(tasks)], axis=1),
            "d.start.fraction": sparse / 100,
            "d.end.fraction": np.full(tasks, 0.9),
            "r.end.feature_effective_rank": np.stack(
                [np.full(tasks, 3.0), np.full(tasks, 5.0)], axis=1
            ),
            "h.start.normalised_epsilon_rank": step(0.5, 0.01, 10, tasks),
            "h.start.normalised_epsilon_rank_lower": step(0.4, 0.005, 10, tasks),
            "h.start.normalised_epsilon_rank_upper": step(0.6, 0.03, 10, tasks),
            "h.end.normalised_epsilon_rank_upper": np.ones(tasks),
            "h.start.resolved": np.arange(tasks) % 4 > 0.0,
            "h.start.extremes": np.stack([np.full(tasks, -1.0), sparse], axis=1),
            "w.start.norm": np.ones(tasks),
        },
        PROBES,
    )


def test_measures():
    found = measures(history(0.8))
    assert list(found) == [
        "accuracy",
        "online accuracy",
        "dead units",
        "effective rank (smallest of the layers)",
        "normalised epsilon-rank",
        "largest eigenvalue",
        "norm of the weights",
    ]
    assert found["online accuracy"].series == pytest.approx(0.4)
    assert found["dead units"].series[2] == 0.02  # measured at the start, not at the end
    assert found["effective rank (smallest of the layers)"].series == pytest.approx(3.0)
    assert found["largest eigenvalue"].series[[2, 4]] == pytest.approx([2, 4])
    assert [m.when for m in found.values()] == [
        "end",
        "whole",
        "start",
        "end",
        "start",
        "start",
        "start",
    ]
    bounds = found["normalised epsilon-rank"].bounds
    assert list(bounds) == ["lower", "upper", "resolved"]
    assert bounds["upper"][-1] == 0.03  # measured at the start, as the value


def test_measures_of_partial_histories():
    assert measures(recorded({}, PROBES)) == {}
    online = measures(recorded({"online_accuracy": np.ones((3, 2))}))
    assert list(online) == ["online accuracy"]
    twice = {"a": {"type": "DeadUnits"}, "b": {"type": "DeadUnits"}}
    columns = {f"{n}.start.fraction": np.ones(3) for n in twice}
    assert list(measures(recorded(columns, twice))) == ["dead units (a)", "dead units (b)"]


@pytest.fixture
def results():
    members = [
        Member("one", 0, "finished", "", history(0.7)),
        Member("one", 1, "finished", "", history(0.8)),
        Member("one", 2, "diverged", "the loss", history(0.0, tasks=5)),
        Member("two", 0, "unfinished", "", history(0.3, tasks=5)),
    ]
    algorithms = {"one": {}, "two": {}, "three": {}}
    settings = {"probes": PROBES, "algorithms": algorithms}
    return Results(pathlib.Path("nowhere"), settings, tuple(members))


def test_summary(results):
    summary = summarise(results)
    assert summary["last_tasks"] == [16, 20]
    assert summary["collapse_grid"] == {"tasks": 10, "spacing": 2}
    one = summary["algorithms"]["one"]
    assert (one["finished"], one["diverged"], one["unfinished"]) == ([0, 1], [2], [])
    accuracy = one["measures"]["accuracy"]
    assert accuracy["by_seed"] == pytest.approx([0.7, 0.8])
    assert accuracy["mean"] == pytest.approx(0.75)
    # t(0.975, 1) = 12.706, and the standard error is 0.1 / sqrt(2) / sqrt(2).
    assert accuracy["half_width"] == pytest.approx(12.7062 * 0.05, rel=1e-4)
    assert one["measures"]["dead units"]["mean"] == pytest.approx(0.17)  # tasks 16 and 18
    assert one["measures"]["largest eigenvalue"]["mean"] == pytest.approx(17)
    rank = one["measures"]["normalised epsilon-rank"]
    assert (rank["mean"], rank["lower"], rank["upper"]) == pytest.approx((0.01, 0.005, 0.03))
    assert rank["resolved"] == 0.75
    assert rank["when"] == "start"
    assert accuracy["when"] == "end"
    assert one["collapse"]["normalised epsilon-rank"] == {"median": 10.0, "by_seed": [10.0, 10.0]}
    assert one["collapse"]["accuracy"] == {"median": None, "by_seed": [None, None]}
    assert one["first"] == [["normalised epsilon-rank"], ["normalised epsilon-rank"]]
    assert summary["algorithms"]["two"]["unfinished"] == [0]
    assert summary["algorithms"]["two"]["measures"] == {}


def test_collapse_of_active_units_and_accuracy():
    columns = {"d.start.fraction": step(0.1, 0.7, 40), "test_accuracy": step(0.9, 0.48, 60)}
    settings = {"probes": PROBES, "algorithms": {"one": {}}}

    def collapse(chance):
        members = (Member("one", 0, "finished", "", recorded(columns, PROBES, chance=chance)),)
        summary = summarise(Results(pathlib.Path("nowhere"), settings, members))
        return {k: v["median"] for k, v in summary["algorithms"]["one"]["collapse"].items()}

    assert collapse(0.0) == {"accuracy": None, "1 - dead units": 40.0}
    assert collapse(0.1) == {"accuracy": 60.0, "1 - dead units": 40.0}


def one_run(columns, seeds=1):
    members = tuple(
        Member("one", s, "finished", "", recorded(columns, PROBES)) for s in range(seeds)
    )
    settings = {"probes": PROBES, "algorithms": {"one": {}}}
    return summarise(Results(pathlib.Path("nowhere"), settings, members))


def test_collapses_are_compared_on_one_grid():
    """Series with different cadences collapse at the same task.

    The dense series rises again for three tasks. A median over five tasks keeps that rise, and one
    over five tasks of the probe removes it.
    """
    dense = step(1.0, 0.1, 37)
    dense[61:64] = 1.0  # between two measurements of the probe
    sparse = np.full(100, np.nan)
    sparse[::8] = dense[::8]
    assert (
        collapse_task(dense) == 64
    )  # compared on different grids, the sparse one would come first
    assert collapse_task(sparse) == 40
    columns = {
        "test_accuracy": dense,
        "online_accuracy": dense,
        "h.start.normalised_epsilon_rank": sparse,
    }
    columns |= {"r.start.feature_effective_rank": np.full(100, np.nan)}  # never measured: ignored
    summary = one_run(columns, seeds=2)
    assert summary["collapse_grid"] == {"tasks": 13, "spacing": 8}
    one = summary["algorithms"]["one"]
    names = ["accuracy", "online accuracy", "normalised epsilon-rank"]
    assert [one["collapse"][n]["median"] for n in names] == [40.0, 40.0, 40.0]
    assert one["first"] == [names, names]
    text = table(summary)
    assert "accuracy and online accuracy and normalised epsilon-rank together (2)" in text
    assert (
        "grid: the 13 tasks that were measured for all compared series, one every 8 tasks" in text
    )


def test_drops_and_lead_times():
    """The rank falls at task 30 and the accuracy at task 50, in two seeds."""
    noise = np.random.default_rng(0).uniform(0.9, 1.1, (2, 100))
    columns = {
        "test_accuracy": step(0.9, 0.1, 50) * noise[0],
        "h.start.normalised_epsilon_rank": step(1.0, 0.1, 30) * noise[1],
    }
    summary = one_run(columns, seeds=2)
    one = summary["algorithms"]["one"]
    rank = one["drops"]["normalised epsilon-rank"]
    assert (rank["found"], rank["task"]) == ([True, True], [30.0, 30.0])
    assert rank["p_value"] == [1 / 2000, 1 / 2000]
    lead = one["lead_times"]["normalised epsilon-rank"]
    assert (lead["before"], lead["both"], lead["neither"]) == ("accuracy", 2, 0)
    assert (lead["mean"], lead["low"], lead["high"]) == (20.0, 20.0, 20.0)
    text = table(summary)
    assert "Drop by a rank test with 5 % false alarms" in text
    assert "with one, normalised epsilon-rank drops 20 [20, 20] tasks before accuracy" in text
    json.dumps(summary)


def test_grid_is_common_to_all_seeds_and_algorithms():
    late = np.full(20, np.nan)
    late[::3] = 1.0
    early = np.full(20, np.nan)
    early[::2] = 1.0
    members = tuple(
        Member(
            name, 0, "finished", "", recorded({"h.start.normalised_epsilon_rank": series}, PROBES)
        )
        for name, series in (("one", late), ("two", early))
    )
    settings = {"probes": PROBES, "algorithms": {"one": {}, "two": {}}}
    summary = summarise(Results(pathlib.Path("nowhere"), settings, members))
    assert summary["collapse_grid"] == {"tasks": 4, "spacing": 6}
    assert np.flatnonzero(common_tasks([late, early], 20)).tolist() == [0, 6, 12, 18]


def test_grid_of_one_task():
    once = np.full(5, np.nan)
    once[0] = 1.0
    summary = one_run(
        {"h.start.normalised_epsilon_rank": once, "test_accuracy": step(1.0, 0.1, 2, 5)}
    )
    assert summary["collapse_grid"] == {"tasks": 1, "spacing": None}
    assert summary["algorithms"]["one"]["first"] == [[]]
    assert "fewer than two tasks" in table(summary)


def test_effective_rank_collapses_with_one_layer():
    layers = np.stack([np.full(100, 50.0), step(40.0, 3.0, 30), step(40.0, 2.0, 50)], axis=1)
    one = one_run({"r.start.feature_effective_rank": layers})["algorithms"]["one"]
    name = "effective rank (smallest of the layers)"
    assert one["collapse"][name]["median"] == 30
    assert one["measures"][name]["mean"] == 2


def test_floor_of_online_accuracy_is_guessing():
    columns = {"online_accuracy": step(0.9, 0.48, 60)[:, None], "test_accuracy": np.ones(100)}
    members = (Member("one", 0, "finished", "", recorded(columns, PROBES)),)
    settings = {"probes": {}, "algorithms": {"one": {}}}
    summary = summarise(Results(pathlib.Path("nowhere"), settings, members))
    assert summary["algorithms"]["one"]["first"] == [["online accuracy"]]


def test_mean_is_none_without_a_value_at_the_end(results):
    late = results.members[0].history
    late["d.start.fraction"][16:] = np.nan
    one = summarise(results)["algorithms"]["one"]["measures"]["dead units"]
    seeds = {"mean": None, "half_width": None, "by_seed": [None, pytest.approx(0.17)]}
    assert one == seeds | {"when": "start", "note": ""}


def test_table(results):
    text = table(summarise(results))
    lines = text.splitlines()
    header = next(line for line in lines if "accuracy" in line and "seeds" in line)
    row = next(line for line in lines if line.startswith("one"))
    assert row.index("0.75 ± 0.64") == header.index("accuracy")
    assert row.index("2 (1 diverged)") == header.index("seeds")
    assert "10 (2 of 2)" in text
    assert "normalised epsilon-rank (2)" in text
    assert "no collapse" in text
    assert "quadrature" in text
    assert "bounds the value for these random vectors at this order" in text
    assert row.index("0.01 ± 0 [0.005..0.03] 75% resolved") == header.index(
        "normalised epsilon-rank"
    )
    moments = lines[lines.index(header) + 1]
    assert moments.index("start of task") == header.index("dead units")
    assert moments[header.index("effective rank") :].startswith("end of task")
    assert moments[header.index("online accuracy") :].startswith("whole task")
    assert next(line for line in lines if line.startswith("two")).split()[1:3] == [
        "0",
        "(1",
    ]


@pytest.mark.parametrize("when", ["start", "end"])
def test_figures_and_table_name_the_moment(when, tmp_path, monkeypatch):
    """If a probe measures only at the end of tasks, no text may mention the start."""
    nodes = np.tile(np.linspace(-1.0, 1.0, 4), (6, 1, 1))
    columns = {
        f"h.{when}.{what}": column
        for what, column in {
            "normalised_epsilon_rank": np.full(6, 0.5),
            "normalised_epsilon_rank_lower": np.full(6, 0.4),
            "normalised_epsilon_rank_upper": np.full(6, 0.6),
            "nodes": nodes,
            "weights": np.full_like(nodes, 0.25),
        }.items()
    } | {f"r.{when}.feature_effective_rank": np.ones((6, 2))}
    members = (Member("one", 0, "finished", "", recorded(columns, PROBES)),)
    probes = PROBES | {"h": {"type": "HessianSpectrum", "epsilon": 0.1}}
    settings = {"probes": probes, "algorithms": {"one": {}}, "seeds": 1}
    results = Results(tmp_path, settings, members)

    texts = []
    save = lambda figure, *_, **__: texts.extend(t.get_text() for t in figure.findobj(Text))
    monkeypatch.setattr(_figures.Figure, "savefig", save)
    drawn = {path.stem for path in _figures.draw_figures(results)}
    names = {"units", "overview", "normalised_epsilon_rank", "hessian_spectra", "curvature"}
    assert drawn == names
    said = "\n".join([*texts, table(summarise(results))])
    other = {"start": "end", "end": "start"}[when]
    assert f"{when.capitalize()} of task 0" in texts
    assert f"Effective rank (smallest of the layers)\n{when} of task" in texts
    assert any(t.startswith("Fraction of") and t.endswith(f", {when} of task") for t in texts)
    assert f"normalised epsilon-rank ({when} of task): the fraction of the eigenvalues" in said
    assert f"{other} of task" not in said.lower()


def test_table_without_probes():
    members = (Member("one", 0, "finished", "", recorded({"return": np.ones(3)})),)
    settings = {"probes": {}, "algorithms": {"one": {}}}
    text = table(summarise(Results(pathlib.Path("nowhere"), settings, members)))
    assert "one" in text
    assert "collapse" not in text
    assert "quadrature" not in text
