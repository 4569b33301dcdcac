"""Grids: their cells, which cells are trained together, and which cell is selected."""

import json
import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml
from recorded_history import recorded
from tiny_experiment import PLAIN

from spectral import History, Quantity, studies
from spectral._ensemble import same_program
from spectral.algorithms import Algorithm
from spectral.studies import (
    Member,
    Results,
    run_sweep,
    Score,
    select,
    SettingsError,
    sweep_table,
)
from spectral.studies.command_line._main import main
from spectral.studies.experiment._grid import Cell, expand
from spectral.studies.experiment._groups import groups
from spectral.studies.experiment._parse import parse
from spectral.studies.experiment._settings import read_settings
from spectral.studies.runs import _sweep
from spectral.studies.runs._score import score_of
from spectral.tasks._base._label_loss import label_quantities


SWEEPS = pathlib.Path(__file__).parents[2] / "examples" / "sweeps"
GRID = "bp: {type: bp, lr: {grid: [1e30, 2e-2]}}\n  l2: {type: l2, lr: {grid: [1e-2, 1e-5]}}"


@pytest.fixture
def grid(tmp_path):
    """A function that writes a tiny sweep, with one piece of its text replaced."""

    def write(old: str = "", new: str = ""):
        text = PLAIN.replace("bp: {type: bp, lr: 1e-2}", GRID).replace("seeds: 2", "seeds: 1")
        text += "score: {measure: accuracy, over: all}\n"
        assert old in text
        path = tmp_path / "tiny.yaml"
        path.write_text(text.replace(old, new) if old else text)
        return path

    return write


def test_expand():
    algorithms = {
        "a": {"type": "x", "lr": {"grid": [1, 2]}, "inner": {"type": "y", "n": {"grid": [3, 4]}}},
        "b": {"type": "z", "list": [1, 2]},
    }
    cells = expand(algorithms)
    assert list(cells) == ["a-1", "a-2", "a-3", "a-4", "b"]
    assert cells["b"] == Cell("b", {}, algorithms["b"])
    assert [c.values for c in cells.values()][:3] == [
        {"lr": 1, "inner.n": 3},
        {"lr": 1, "inner.n": 4},
        {"lr": 2, "inner.n": 3},
    ]
    assert cells["a-4"].settings == {"type": "x", "lr": 2, "inner": {"type": "y", "n": 4}}
    assert algorithms["a"]["lr"] == {"grid": [1, 2]}


def test_a_grid_of_whole_algorithms():
    first, second = {"type": "x"}, {"type": "y", "lr": 1}
    cells = expand({"a": {"grid": [first, second]}})
    assert cells == {
        "a-1": Cell("a", {"settings": first}, first),
        "a-2": Cell("a", {"settings": second}, second),
    }


@pytest.mark.parametrize(
    ("algorithms", "message"),
    [
        ({"a": {"lr": {"grid": []}}}, "`algorithms.a.lr` is .*at least one value"),
        ({"a": {"lr": {"grid": 3}}}, "`algorithms.a.lr` is .*must be a list"),
        ({"a": {"lr": {"grid": [1], "x": 2}}}, "nothing else"),
        ({"a": {"lr": {"grid": [1, 2]}}, "a-1": {}}, "name 'a-1'.*rename"),
    ],
)
def test_expand_rejects(algorithms, message):
    with pytest.raises(SettingsError, match=message):
        expand(algorithms)


def random_results(rng, *, seeds=3, tasks=10):
    """A sweep of two algorithms with random accuracies, in which some seeds diverged."""
    cells, members = {}, []
    for algorithm, points in (("a", 4), ("b", 3)):
        for i in range(1, points + 1):
            name = f"{algorithm}-{i}"
            cells[name] = Cell(algorithm, {"lr": i}, {"type": "bp"})
            for seed in range(seeds):
                status = "diverged" if rng.random() < 0.2 else "finished"
                accuracy = rng.random(tasks)
                columns = {"test_accuracy": accuracy, "online_accuracy": accuracy[:, None] / 2}
                members.append(Member(name, seed, status, "", recorded(columns)))
    settings = {"probes": {}, "algorithms": dict.fromkeys(cells), "seeds": seeds}
    return Results(pathlib.Path("nowhere"), settings, tuple(members)), cells


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("measure", "over"), [("accuracy", "all"), ("online accuracy", "last")])
def test_selection_matches_pandas(seed, measure, over):
    results, cells = random_results(np.random.default_rng(seed))
    table: Any = select(results, cells, Score(measure, over)).set_index("cell")
    column = {"accuracy": "test_accuracy", "online accuracy": "online_accuracy"}[measure]
    rows = [
        (m.algorithm, m.algorithm[0], m.seed, m.status, task, float(np.mean(value)))
        for m in results.members
        for task, value in enumerate(m.history[column])
    ]
    frame: Any = pd.DataFrame(
        rows, columns=["cell", "algorithm", "seed", "status", "task", "value"]
    )
    frame = frame[(frame["task"] >= 8) | (over == "all")]
    done = frame[frame["status"] == "finished"]
    by_seed = done.groupby(["algorithm", "cell", "seed"])["value"].mean()
    for cell, row in table.iterrows():
        values = by_seed.xs(cell, level="cell") if cell in by_seed.index.levels[1] else []
        assert row["seeds"] == len(values)
        assert row["diverged"] == 3 - len(values)
        if len(values):
            assert row["score"] == pytest.approx(np.mean(values))
        if len(values) > 1:
            low, high = scipy.stats.t.interval(
                0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
            )
            assert row["half_width"] == pytest.approx((high - low) / 2)
    complete = by_seed.groupby(["algorithm", "cell"]).filter(lambda s: len(s) == 3)
    best = complete.groupby(["algorithm", "cell"]).mean().groupby("algorithm").idxmax()
    assert sorted(table.index[table["selected"]]) == sorted(cell for _, cell in best)


def test_cells_with_diverged_seeds_are_not_selected():
    results, cells = random_results(np.random.default_rng(0))
    lost = tuple(Member(m.algorithm, m.seed, "diverged", "", m.history) for m in results.members)
    table: Any = select(
        Results(results.folder, results.settings, lost), cells, Score("accuracy", "all")
    )
    assert not table["selected"].any()
    assert table["score"].isna().all()
    text = sweep_table(table.reset_index(), Score("accuracy", "all"))
    assert "no cell finished from every seed with a score: a, b." in text
    with pytest.raises(SettingsError, match="`score.measure`: Measure 'acuracy'.*did you mean"):
        select(results, cells, Score("acuracy", "all"))


def test_table_with_values_of_all_types():
    values = [{"type": "sgd", "lr": 0.1}, [0.1, 2], "text", True, None, 3e-5, 12]
    cells = {f"a-{i}": Cell("a", {"what": v}, {}) for i, v in enumerate(values)}
    settings = {"probes": {}, "algorithms": dict.fromkeys(cells), "seeds": 1}
    table = select(Results(pathlib.Path(), settings, ()), cells, Score("accuracy", "all"))
    lines = sweep_table(table, Score("accuracy", "all")).splitlines()
    words = ["{'type': 'sgd', 'lr': 0.1}", "[0.1, 2]", "text", "True", "None", "3e-05", "12"]
    for i, word in enumerate(words):
        assert f"a-{i}   {word}  " in next(line for line in lines if f"a-{i} " in line)


def test_sweep(grid, tmp_path, capsys):
    path, out = grid(), tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out), "--json"]) == 1  # a cell diverged
    text, last = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert "Score: mean accuracy over all tasks and seeds" in text
    assert f"The best cells are in {out / 'selected.yaml'}, for spectral run." in text
    rows = {row["cell"]: row for row in json.loads(last)["cells"]}
    assert list(rows) == ["bp-1", "bp-2", "l2-1", "l2-2"]
    assert [rows[c]["diverged"] for c in rows] == [1, 0, 0, 0]
    assert rows["bp-1"]["score"] is None
    data = studies.load(out)
    scores = data["test_accuracy"].mean(["seed", "task"])
    best = max(("l2-1", "l2-2"), key=lambda cell: float(scores.sel(run=cell)))
    assert {cell for cell in rows if rows[cell]["selected"]} == {"bp-2", best}
    assert rows[best]["score"] == pytest.approx(float(scores.sel(run=best)))
    assert (data["together"] == 2).all()
    selected = yaml.safe_load((out / "selected.yaml").read_text())
    assert selected["algorithms"]["l2"]["lr"] == rows[best]["lr"]
    assert list(selected["algorithms"]) == ["bp", "l2"]
    written: Any = pd.read_csv(out / "sweep.csv")
    assert written["selected"].sum() == 2
    assert read_settings(out / "sweep.yaml") == read_settings(path)
    studies.load_experiment(out / "selected.yaml")

    # Resuming a finished sweep trains nothing.
    before = (out / "l2-1" / "seed_0" / "history.npz").stat().st_mtime_ns
    assert main(["sweep", str(path), "--out", str(out), "--resume"]) == 1
    assert (out / "l2-1" / "seed_0" / "history.npz").stat().st_mtime_ns == before


@pytest.mark.slow
def test_member_of_a_sweep_equals_a_run(grid, tmp_path):
    sweep, alone = tmp_path / "sweep", tmp_path / "alone"
    assert main(["sweep", str(grid("seeds: 1", "seeds: 2")), "--out", str(sweep)]) == 1
    assert main(["run", str(sweep / "selected.yaml"), "--out", str(alone)]) == 0
    data = studies.load(sweep)
    for member in studies.load_results(alone).of("bp"):
        own = data.sel(run="bp-2", seed=member.seed)
        for name, column in member.history.items():
            np.testing.assert_array_equal(own[name].values, column, err_msg=name)


def test_selected_yaml_names_algorithms_without_selection(grid, tmp_path, monkeypatch):
    sweep = studies.load_sweep(grid(GRID, "bp: {type: bp}\n  l2: {type: l2}"))
    statuses: Any = {"bp": "finished", "l2": "diverged"}

    def run(experiment, folder, **_):
        folder.mkdir(exist_ok=True)
        columns = recorded({"test_accuracy": np.ones(4)})
        members = [Member(a, 0, statuses[a], "", columns) for a in statuses]
        return Results(folder, experiment.settings, tuple(members))

    monkeypatch.setattr(_sweep, "run_experiment", run)
    run_sweep(sweep, tmp_path / "some")
    text = (tmp_path / "some" / "selected.yaml").read_text()
    assert "# Nothing selected, because no cell finished from every seed with a score: l2." in text
    assert list(yaml.safe_load(text)["algorithms"]) == ["bp"]
    statuses["bp"] = "diverged"
    run_sweep(sweep, tmp_path / "none")
    assert (tmp_path / "none" / "sweep.csv").exists()
    assert not (tmp_path / "none" / "selected.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "score: {measure: accuracy, over: all}",
            "score: 3",
            "`score` is 3.*must be a mapping with the measure",
        ),
        ("over: all", "over: some", "`score.over`: Choice 'some'"),
        ("measure: accuracy", "measure: acuracy", "`score.measure`: .*did you mean 'accuracy'"),
        ("over: all", "oevr: all", "`score.oevr`: Name 'oevr'.*did you mean 'over'"),
        ("lr: {grid: [1e30, 2e-2]}", "lr: {grid: [1e-2, fast]}", "`algorithms.bp-2.lr`"),
    ],
)
def test_sweep_rejects(grid, tmp_path, capsys, old, new, message):
    assert main(["sweep", str(grid(old, new)), "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def cells_of(quantities, columns):
    """A sweep of two cells with one seed each, and their columns."""
    cells = {name: Cell("a", {"lr": i}, {}) for i, name in enumerate(columns)}
    members = tuple(
        Member(name, 0, "finished", "", History(own, quantities=quantities))
        for name, own in columns.items()
    )
    settings = {"probes": {}, "algorithms": dict.fromkeys(cells), "seeds": 1}
    return Results(pathlib.Path("nowhere"), settings, members), cells


def test_validation_rows_choose_by_default():
    """The table says which rows choose, and shows the test rows beside them."""
    quantities = label_quantities(0.1, validation=True, online=True)
    score = score_of({}, quantities)
    assert score == Score("validation accuracy", "all", rows="validation", reported="accuracy")
    by_cell = {"a-1": (0.9, 0.5), "a-2": (0.6, 0.8)}
    columns = {
        cell: {"test_accuracy": np.full(4, test), "validation_accuracy": np.full(4, chosen)}
        for cell, (test, chosen) in by_cell.items()
    }
    table = select(*cells_of(quantities, columns), score)
    assert table["selected"].tolist() == [False, True]
    assert table["accuracy"].tolist() == [0.9, 0.6]
    text = sweep_table(table, score)
    assert "mean validation accuracy over all tasks and seeds, on validation rows" in text
    assert "The validation rows choose; accuracy is that of the test rows" in text
    # Without validation rows the first performance chooses, and a score may name any measure.
    assert score_of({}, label_quantities(0.1)) == Score("accuracy", "all", rows="test")
    named = score_of({"score": {"measure": "online accuracy", "over": "last"}}, quantities)
    assert named == Score("online accuracy", "last", rows="train")
    with pytest.raises(SettingsError, match="nothing that is recorded says how well"):
        score_of({}, {"a": Quantity("a")})


def test_the_lowest_score_is_best_where_less_is_better():
    quantities = {"test_loss": Quantity("test loss", better="lower", figure="performance")}
    columns = {"a-1": {"test_loss": np.full(4, 0.9)}, "a-2": {"test_loss": np.full(4, 0.2)}}
    table = select(*cells_of(quantities, columns), score_of({}, quantities))
    assert table["selected"].tolist() == [False, True]


GRIDS = {
    "permuted_mnist": 48,
    "continual_imagenet": 39,
    "incremental_cifar": 39,
    "slippery_ant": 39,
}


@pytest.mark.parametrize("name", GRIDS)
def test_grids_of_the_paper(name):
    """Each grid has the cells of its table. The first and the last cell of each algorithm are made,
    and belong to one program."""
    settings = read_settings(SWEEPS / f"{name}.yaml")
    cells = expand(settings["algorithms"])
    assert len(cells) == GRIDS[name]
    own = {}
    for cell in cells.values():
        own.setdefault(cell.algorithm, []).append(cell)
    assert len(own) == 5
    for several in own.values():
        ends = [parse(c.settings, Algorithm, "a", {}).make() for c in (several[0], several[-1])]
        assert same_program(*ends)
    assert settings["score"]["over"] == "all"


@pytest.mark.slow
def test_recommended_small_sweep_of_the_ant(tmp_path):
    """The effective-rank period must fit the smaller task. A point mass replaces the ant, whose
    tracing takes seconds."""
    path = SWEEPS / "slippery_ant.yaml"
    recommended = re.findall(r"--set (\S+)", path.read_text())
    assert "preset=small" in recommended
    grid = yaml.safe_load(path.read_text())
    own = grid | {"algorithms": {"er": grid["algorithms"]["er"]}, "probes": {}}
    (tmp_path / "er.yaml").write_text(yaml.safe_dump(own))
    point = (
        "stream.world={type: ChangingEnvironment, environment: {type: PointMass}, "
        "schedule: {type: Cycle, each: [1.0]}, steps_per_task: 20480}"
    )
    recommended = [a for a in recommended if "l2_er" not in a]
    studies.load_sweep(tmp_path / "er.yaml", assignments=[*recommended, point])


def test_grid_of_digits(untraced):
    sweep = studies.load_sweep(
        SWEEPS / "digits.yaml", assignments=["stream.num_tasks=2", "probes={}"]
    )
    assert len(sweep.cells) == 19
    assert [len(group.names) for group in groups(sweep.experiment)] == [6, 12, 8, 12]
