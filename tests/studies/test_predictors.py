"""The comparison of signs as predictors, from run folders to tables, files and the report."""

import dataclasses
import importlib
import json
import re
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
from predictor_runs import OUTCOME, QUANTITIES, write_run
from tiny_experiment import TINY

from spectral import probes, Quantity, studies
from spectral.curvature import Dense, Lanczos
from spectral.studies import PredictorProtocol, rank_predictors, SettingsError
from spectral.studies.command_line._main import main
from spectral.studies.figures._predictors_figure import _draw
from spectral.studies.predictors._compare import compare
from spectral.studies.predictors._coverage import coverage
from spectral.studies.predictors._read import read_panel
from spectral.studies.predictors._signs_of import outcome_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "mine", num_algorithms=3)


@pytest.fixture(scope="module")
def ranking(folder):
    return rank_predictors(folder, num_samples=199)


def by_name(ranking):
    return {sign.name: sign for sign in ranking.signs}


def test_what_is_compared(ranking):
    """Every quantity but those of the outcome's part, also one that no library knows."""
    signs = by_name(ranking)
    assert {name for name, sign in signs.items() if sign.trivial} == {
        "task index",
        "previous outcome",
        "loss before the task",
    }
    assert {name for name, sign in signs.items() if not sign.trivial} == {
        "my own sign",
        "noise",
        "unsaid",
        "rank",
        "fine rank",
        "lost",
        "accuracy",
    }
    assert (signs["my own sign"].column, signs["my own sign"].cost) == ("mine.start.told", 2.0)
    assert signs["noise"].cost is None
    assert signs["task index"].cost == 0


def test_the_sign_that_tells_wins(ranking):
    signs = by_name(ranking)
    own, noise = signs["my own sign"], signs["noise"]
    assert (own.rank, own.claimed, own.observed) == (1, "higher", "higher")
    assert own.within.low > 0.8 > noise.within.high
    assert own.within.low < own.within.value < own.within.high
    assert own.holm <= 0.05 < noise.holm
    assert noise.within.low > 0  # a trend alone correlates within runs
    assert noise.partial.value < noise.within.value / 1.5
    assert own.partial.low > 0.5
    assert (own.both, own.falling, own.false_alarms, own.steady) == (8, 8, 0, 4)
    assert 0 < own.lead.value <= 2
    assert own.lead.low < own.lead.value < own.lead.high
    assert noise.false_alarms > 0
    assert signs["task index"].false_alarms == 4
    assert own.roc.low > 0.8 > signs["accuracy"].roc.value
    # Only diagnostics are a family.
    assert np.isnan(signs["previous outcome"].holm)
    assert not np.isnan(signs["previous outcome"].p_value)


def test_directions_and_thresholds_are_those_of_tuning_seeds(ranking):
    unsaid = by_name(ranking)["unsaid"]
    assert (unsaid.claimed, unsaid.observed) == ("neither", "lower")
    assert unsaid.within.value > 0.8  # the magnitude
    told = by_name(ranking)["my own sign"]
    assert -np.log(told.threshold) == pytest.approx(unsaid.threshold)  # of one ordering
    assert (ranking.protocol.tuning_seeds, ranking.protocol.result_seeds) == ((0, 1), (2, 3, 4, 5))


def test_tuning_seeds_alone_give_direction_and_threshold(folder, ranking):
    """A sign that turns around after the tuning seeds, and is another number there."""
    panel = read_panel([studies.load_results(folder)], PredictorProtocol())
    turned = np.where(np.arange(6)[:, None] < 2, panel.outcome, -panel.outcome - 100)
    lost = dataclasses.replace(panel.signs["lost"], values=turned)
    panel = dataclasses.replace(panel, signs={**panel.signs, "lost": lost})
    found = by_name(compare(panel, ranking.protocol, num_samples=9))["lost"]
    assert (found.claimed, found.observed) == ("neither", "higher")
    assert found.within.value == pytest.approx(-1)
    assert found.across_seeds.value == pytest.approx(-1)
    assert found.roc.value < 0.1
    assert found.threshold > -50
    assert found.right == 0.5  # all results are below it


def test_an_algorithm_without_outcome_takes_no_interval_away(folder, ranking):
    """No draw has a run of it, so it has no seeds that could be too few."""
    panel = read_panel([studies.load_results(folder)], PredictorProtocol())
    outcome = panel.outcome.copy()
    outcome[0] = np.nan
    own = {"my own sign": panel.signs["my own sign"]}
    panel = dataclasses.replace(panel, outcome=outcome, signs=own)
    found = compare(panel, ranking.protocol, num_samples=9)
    assert found.signs[0].within.low < found.signs[0].within.high
    assert not [message for message in found.messages if "intervals need" in message]


def test_protocol_chooses_the_columns(folder):
    chosen = PredictorProtocol(variant="balanced", epsilon=0.1, outcome=OUTCOME)
    names = read_panel([studies.load_results(folder)], chosen).signs
    assert "noise, balanced weights" in names
    assert not {"noise", "fine rank"} & set(names)
    assert {"my own sign", "rank"} <= set(names)


def test_checkpoints_and_moments(folder):
    """The outcome of the probe looks ahead from the end of the task. That of the stream is what
    was learnt in the task, so a sign at the end is read one task earlier."""
    results = [studies.load_results(folder)]
    history = results[0].of("a1")[2].history
    panel = read_panel(results, PredictorProtocol())
    assert panel.tasks.tolist() == list(range(0, 24, 2))
    at = (1, 2)
    np.testing.assert_array_equal(panel.outcome[at], -history[OUTCOME][::2])
    np.testing.assert_array_equal(
        panel.signs["fine rank"].values[at], history["fine.end.rank"][::2]
    )
    rank = history["rank.start.rank"][::2].min(axis=1)  # as its quantity reduces it
    np.testing.assert_array_equal(panel.signs["rank"].values[at], rank)
    np.testing.assert_array_equal(panel.previous[at][1:], panel.outcome[at][:-1])
    panel = read_panel(results, PredictorProtocol(outcome="test_accuracy"))
    assert panel.tasks.tolist() == list(range(24))
    np.testing.assert_array_equal(
        panel.signs["fine rank"].values[at], [np.nan, *history["fine.end.rank"][:-1]]
    )
    np.testing.assert_array_equal(panel.signs["noise"].values[at], history["noise.start.trend"])


def test_loss_of_the_first_chunk_stands_in(tmp_path):
    run = write_run(tmp_path / "run", seeds=1, changed={"start.start.loss": None})
    results = studies.load_results(run)
    panel = read_panel([results], PredictorProtocol())
    first = panel.signs["loss of the first chunk"]
    assert first.trivial
    history = results.members[0].history
    np.testing.assert_array_equal(first.values[0, 0], history["loss"][::2, 0])


def test_several_folders(folder, tmp_path):
    other = write_run(tmp_path / "other", num_algorithms=1, seeds=2)
    panel = read_panel([studies.load_results(f) for f in (folder, other)], PredictorProtocol())
    assert panel.algorithms[-1] == f"{other}/a0"
    assert panel.present.sum(axis=1).tolist() == [6, 6, 6, 2]


def test_coverage(folder):
    panel = read_panel([studies.load_results(folder)], PredictorProtocol())
    found = {(c.sign, c.algorithm): c for c in coverage(panel)}
    assert found["my own sign", "a0"].missing == ""
    assert found["lost", "a0"][2:] == (0, 72, "NaN or not recorded")


def test_fewer_than_five_seeds_have_no_intervals(tmp_path):
    ranking = rank_predictors(
        write_run(tmp_path / "run", num_algorithms=2, seeds=4), num_samples=99
    )
    own = by_name(ranking)["my own sign"]
    assert own.within.value > 0.8
    assert np.isnan(own.within.low)
    assert any("4 seeds, but intervals need at least 5" in m for m in ranking.messages)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"tasks": 4}, ["2 checkpoints, but a correlation within runs needs at least 3"]),
        (
            {"tasks": 10, "seeds": 3},
            [
                "4 checkpoints after task 0, but the test of a fall needs at least 6",
                "2 seeds for results, but a correlation across seeds needs at least 3",
            ],
        ),
        (
            {"num_algorithms": 1, "seeds": 1},
            ["1 algorithm, but a correlation across algorithms", "1 seed, so directions and thre"],
        ),
        (
            {"changed": {OUTCOME: 0.3, "trainability.end.own_ratio": 0.9}},
            ["The outcome never varies", "All branches reach 0.8 of a fr"],
        ),
        ({"changed": {OUTCOME: np.nan}}, ["The outcome is NaN in all runs"]),
        (
            {
                "changed": {
                    "trainability.end.own_ratio": None,
                    "start.start.loss": None,
                    "loss": None,
                }
            },
            [
                "The ratio to fresh networks was not re",
                "The loss at the start of tasks was not rec",
            ],
        ),
        ({"changed": {OUTCOME: -np.inf}}, ["The outcome never varies"]),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_there(options, parts, tmp_path):
    sizes = {"num_algorithms": 2, "seeds": 2, "tasks": 8}
    ranking = rank_predictors(write_run(tmp_path / "run", **sizes | options), num_samples=19)
    text = studies.predictors_table(ranking)
    assert all(part in text for part in parts)
    assert len(ranking.signs) == 10
    assert ranking.coverage
    studies.save_predictors(ranking, tmp_path)  # also without numbers


NO_END = {"quantities": QUANTITIES | {"noise.start.trend": Quantity("noise")}}


@pytest.mark.parametrize(
    ("options", "arguments", "part"),
    [
        (
            {"changed": {OUTCOME: None, "trainability.end.own_ratio": None}},
            [],
            "These runs have not recorded an outcome: add the probe `Trainability`",
        ),
        ({}, ["--outcome", "test_acuracy"], "did you mean 'test_accuracy'?"),
        (NO_END, ["--outcome", "noise.start.trend"], "does not say whether higher or lower"),
        ({}, ["--tuning-seeds", "2"], "`--tuning-seeds` is 2, but must be below the number of"),
        ({}, ["--tuning-seeds", "0"], "`tuning_seeds` is 0"),
        ({}, ["--epsilon", "-1"], "`epsilon` is -1"),
    ],
)
def test_one_message(options, arguments, part, tmp_path, capsys):
    run = write_run(tmp_path / "run", num_algorithms=1, seeds=2, tasks=4, **options)
    assert main(["predictors", str(run), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("spectral predictors: ")
    assert err.count("\n") == 1
    assert part in err
    assert not (run / "predictors").exists()


def test_nothing_finished(tmp_path, capsys):
    run = write_run(tmp_path / "run", num_algorithms=1, seeds=1, tasks=4)
    status = run / "a0" / "seed_0" / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"status": "unfinished"}))
    assert main(["predictors", str(run)]) == 2
    assert "None of the training runs in" in capsys.readouterr().err


def test_default_outcome_is_what_the_quantities_say():
    assert outcome_of(QUANTITIES, None) == OUTCOME
    with pytest.raises(SettingsError, match="one of test_accuracy, mine.start.told"):
        outcome_of({c: q for c, q in QUANTITIES.items() if "trainability" not in c}, None)


def test_protocol_rejects_bad_values():
    with pytest.raises(ValueError, match="Variant 'raww' does not exist"):
        PredictorProtocol.__post_init__(types.SimpleNamespace(variant="raww"))  # pyright: ignore
    with pytest.raises(SettingsError, match="pass at most 4"):
        PredictorProtocol(tuning_seeds=5).split((0, 1, 2, 3, 4))
    assert PredictorProtocol(tuning_seeds=3).split((0, 1, 2, 3, 4)) == ((0, 1, 2), (3, 4))
    assert PredictorProtocol().split((0, 1, 2, 3, 4)) == ((0,), (1, 2, 3, 4))


def drawn(figure):
    """The heights of the points of each panel."""
    marks = lambda axes: [line for line in axes.lines if line.get_marker() == "o"]
    return [[line.get_xydata()[0].tolist() for line in marks(axes)] for axes in figure.axes]


def test_figure(ranking):
    """Each sign is at its cost and correlation. That of unknown cost is on the right."""
    figure = _draw(ranking)
    assert figure is not None
    known = [sign for sign in ranking.signs if sign.rank is not None]
    within, seeds = drawn(figure)
    assert [y for _, y in within] == [sign.within.value for sign in known]
    levels = [sign.across_seeds.value for sign in known]
    assert [y for _, y in seeds] == [y for y in levels if not np.isnan(y)]
    for (x, _), sign in zip(within, known, strict=True):
        assert x == pytest.approx(sign.cost, rel=0.2, abs=0.2) if sign.cost is not None else x > 5
    assert "1 my own sign; " in figure.get_supxlabel()
    assert _draw(dataclasses.replace(ranking, signs=ranking.signs[-1:])) is None  # no number


@pytest.mark.slow
def test_figure_files(ranking, tmp_path):
    files = studies.draw_predictors(ranking, folder=tmp_path)
    assert [path.name for path in files] == ["predictors.png", "predictors.pdf"]
    assert all(path.stat().st_size > 1000 for path in files)


def test_command(folder, tmp_path, monkeypatch, capsys):
    """The table and the files; and nothing of the run is changed."""
    figures = []
    monkeypatch.setattr(studies, "draw_predictors", lambda r, folder: figures.append(folder) or [])
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    assert main(["predictors", str(folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Outcome: area above fresh (trainability.end.own_excess), lower is better" in printed
    assert "budget 30 gradient steps" in printed
    assert "epsilon 0.01, 0.1" in printed
    assert re.search(r"^1 +my own sign +\+\+ +0\.\d+ \[0\.\d+, 0\.\d+\]", printed, re.MULTILINE)
    assert re.search(r"^lost +all +0 of 72 +NaN or not recorded", printed, re.MULTILINE)
    names = {"predictors.csv", "coverage.csv", "predictors.json"}
    assert figures == [out]
    assert {p.name for p in out.iterdir()} == names
    table: Any = pd.read_csv(out / "predictors.csv")
    assert table["name"][0] == "my own sign"
    assert {"within_low", "spearman_across_seeds", "holm", "roc", "cost"} <= set(table)
    facts = json.loads((out / "predictors.json").read_text())
    assert facts["protocol"]["budget"] == 30
    assert facts["signs"][0]["within"] == pytest.approx(table["within"][0])
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_report_has_a_section_only_with_an_outcome(tmp_path):
    def tables(run):
        text = studies.write_report([run], tmp_path / "report.html").read_text()
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
        assert found
        return json.loads(found.group(1))["tables"]

    correlations, warned = tables(write_run(tmp_path / "run", num_algorithms=2, seeds=2))
    assert correlations["title"].startswith("Signs as predictors")
    assert "Outcome: area above fresh" in correlations["note"]
    assert correlations["rows"][1][:2] == ["1", "my own sign"]
    assert [len(row) for row in warned["rows"]] == [8] * 11
    none = {OUTCOME: None, "trainability.end.own_ratio": None}
    assert tables(write_run(tmp_path / "none", num_algorithms=1, seeds=1, changed=none)) == []


def test_probes_say_what_they_cost():
    """In gradient evaluations: a product with the Hessian is one, a forward pass a third."""
    rank = "normalised_epsilon_rank"
    lanczos = Lanczos(order=10, num_vectors=2)
    spectrum = lambda **options: probes.HessianSpectrum(**options).quantities()[rank].cost
    assert spectrum(estimator=lanczos) == 20
    assert spectrum(estimator=lanczos, num_resamples=2) == 60
    assert spectrum() == Lanczos(order=100).num_vectors * 100
    assert spectrum(estimator=Dense()) is None
    assert probes.DeadUnits().quantities()["fraction"].cost == pytest.approx(1 / 3)
    assert probes.WeightNorm().quantities()["norm"].cost == 0
    ranks = probes.CurvatureRanks(estimator=lanczos)
    assert ranks.quantities()["epsilon_rank"].cost == 20
    fresh = probes.OnFreshTasks(ranks, num_tasks=3).quantities()
    assert fresh["epsilon_rank"].cost == 60
    gain = probes.QuadraticGain(num_samples=4).quantities()
    assert (gain["sharpness"].cost, gain["relative_noisy_gain"].cost) == (2, 6)


OWN = """
import equinox as eqx
import jax
import jax.numpy as jnp
from spectral import probes, Quantity


class Sign(probes.AbstractProbe):
    when: tuple[probes.When, ...] = eqx.field(static=True, default=("start",))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, key):
        leaves = jax.tree.leaves(eqx.filter(learner.model, eqx.is_inexact_array))
        return {"mine": jnp.max(jnp.abs(leaves[0]))}

    def quantities(self):
        return {"mine": Quantity("largest weight of mine", better="lower")}
"""


@pytest.mark.slow
def test_a_probe_of_ones_own_is_ranked(tmp_path, monkeypatch, capsys):
    """It is in the YAML, and reading the results does not import it."""
    (tmp_path / "sign_of_mine.py").write_text(OWN)
    text = TINY[: TINY.index("probes:")].replace("num_tasks: 4", "num_tasks: 8")
    path = tmp_path / "own.yaml"
    path.write_text(text + "probes:\n  own: {type: 'sign_of_mine:Sign'}\n")
    importlib.invalidate_caches()
    studies.run_experiment(studies.load_experiment(path), tmp_path / "out")
    monkeypatch.delitem(sys.modules, "sign_of_mine")
    (tmp_path / "sign_of_mine.py").unlink()
    arguments = ["--outcome", "test_accuracy", "--out", str(tmp_path / "found")]
    capsys.readouterr()
    assert main(["predictors", str(tmp_path / "out"), *arguments]) == 0
    assert "sign_of_mine" not in sys.modules
    assert re.search(r"largest weight of mine +-", capsys.readouterr().out)
    facts = json.loads((tmp_path / "found" / "predictors.json").read_text())
    own = next(sign for sign in facts["signs"] if sign["name"] == "largest weight of mine")
    assert (own["column"], own["claimed"]) == ("own.start.mine", "lower")
    assert own["within"] is not None
    assert (tmp_path / "found" / "predictors.png").exists()
