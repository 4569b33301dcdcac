"""The files of studies, the commands that train their units of work, and what is kept of them."""

import io
import pathlib
from typing import Any

import numpy as np
import pytest
import yaml
from recorded_history import recorded

from spectral import studies
from spectral.studies.command_line._main import main
from spectral.studies.experiment._settings import read_settings
from spectral.studies.published._load import read_experiment
from spectral.studies.runs._results import load_member, Member, member_folder, save_member


ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(
    p for name in ("transformers", "predictors") for p in ROOT.glob(f"examples/{name}/*")
)
TRANSFORMERS = {"bp", "l2", "cbp", "redo", "spectral_reg", "reset"}

# What is replaced so that programs are small. Digits stand in for data that are not there.
SIZES: dict[str, Any] = {
    "num_tasks": 2,
    "steps_per_task": 60,
    "num_examples": 10,
    "every": 1,
    "budget": 10,
    "rows": 60,
    "minibatch_size": 6,
    "epochs": 1,
    "train_per_class": 60,
    "num_evaluation_examples": 20,
    "decay_steps": 60,
    "order": 2,
    "name": "digits",
    "channels": [2, 2, 2],
    "dense_sizes": [4],
    "period": 10,
    "er_period": 10,
    "num_environments": 2,
    "steps_per_rollout": 20,
    "minibatches_per_epoch": 2,
    "num_evaluation_environments": 2,
    "evaluation_steps": 5,
}
DEEP = {"width": 8, "depth": 1, "num_heads": 2}


def smaller(settings: Any) -> Any:
    if isinstance(settings, list):
        return [smaller(value) for value in settings]
    if not isinstance(settings, dict):
        return settings
    sizes = SIZES | (DEEP if settings.get("type") in ("GPT", "ViT", "MLP", "ActorCritic") else {})
    return {n: sizes[n] if n in sizes else smaller(value) for n, value in settings.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_study(path):
    """It has at least six algorithms, and its signs and its outcome are of the same fresh tasks."""
    settings = read_settings(path)
    names = set(settings["algorithms"])
    if path.parent.name == "transformers":
        assert names >= TRANSFORMERS
        assert settings["stream"]["num_tasks"] == 100
        return
    assert len(names) >= (3 if path.stem == "digits" else 6)
    outcome = settings["probes"].pop("trainability")
    assert outcome["type"] == "Trainability"
    fresh = [p for p in settings["probes"].values() if p["type"] == "OnFreshTasks"]
    assert len(fresh) > 15
    assert {p["num_tasks"] for p in fresh} == {outcome["num_tasks"]}
    assert {p["every"] for p in settings["probes"].values()} == {outcome["every"]}
    assert settings["stream"]["num_tasks"] // outcome["every"] == 10


VALUES = {
    "minatar_sequence": {"small"},
    "minatar_replay_ratio": {"small", "ratio_2", "ratio_4", "ratio_8"},
}


@pytest.mark.parametrize("name", VALUES)
def test_the_studies_of_action_values(name):
    """In all presets a chunk has 8 gradient steps, of which every cadence is a multiple."""
    path = ROOT / "examples" / "dqn" / f"{name}.yaml"
    assert set(read_settings(path)["presets"]) == VALUES[name]
    for preset in (None, *VALUES[name]):
        settings, _ = read_experiment(path, [] if preset is None else [f"preset={preset}"])
        assert list(settings["algorithms"]) == ["bp", "redo", "reset", "l2_er"]
        assert {"dormant", "dormant_new", "rank", "values", "hessian"} <= set(settings["probes"])
        stream, redo = settings["stream"], settings["algorithms"]["redo"]
        steps = stream["steps_per_rollout"] * stream["replay_ratio"]
        assert steps == redo["window"] == settings["algorithms"]["l2_er"]["er_window"] == 8
        cadences = stream["target_update"]["period"], redo["period"]
        assert not any(cadence % steps for cadence in cadences)
        assert not stream["world"]["steps_per_task"] % stream["steps_per_rollout"]
        assert settings["seeds"] == (1 if preset == "small" else 5)


@pytest.mark.slow
def test_the_programs_of_a_study_of_action_values():
    """Those of the smaller one are traced, with one algorithm that needs the last minibatches."""
    pytest.importorskip("pgx", reason="pgx is not installed: pip install 'spectral-plasticity[rl]'")
    path = ROOT / "examples" / "dqn" / "minatar_replay_ratio.yaml"
    algorithm = "algorithms={er: {type: l2_er, er_period: 200, er_window: 8}}"
    columns = studies.load_experiment(path, assignments=["preset=small", algorithm]).quantities
    assert {"evaluation_return", "hessian.end.epsilon_rank", "dormant.end.fraction"} <= set(columns)


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("name", ["predictors/digits", "transformers/gpt_markov"])
def test_a_study_can_be_made(name):
    settings = read_settings(ROOT / "examples" / f"{name}.yaml")
    experiment = studies.make_experiment(smaller(settings))
    assert list(experiment.algorithms) == list(settings["algorithms"])
    assert list(experiment.probes) == list(settings["probes"])


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_programs_of_every_study(path):
    """All probes under the first algorithm, and all algorithms without probes, are traced."""
    settings = smaller(read_settings(path))
    first = next(iter(settings["algorithms"]))
    one = {first: settings["algorithms"][first]}
    columns = studies.make_experiment(settings | {"algorithms": one}).quantities
    studies.make_experiment(settings | {"probes": {}})
    for name in settings["probes"]:
        assert any(column.startswith(f"{name}.") for column in columns)


@pytest.mark.slow
def test_a_unit_of_a_study(tmp_path, monkeypatch, capsys):
    """The command of docs/results trains one unit after the other, and the folder is readable."""
    monkeypatch.chdir(tmp_path)
    settings = smaller(read_settings(ROOT / "examples/transformers/gpt_markov.yaml"))
    settings["seeds"] = 1
    settings["probes"] = {"dormant": settings["probes"]["dormant"]}
    settings["algorithms"] = {n: settings["algorithms"][n] for n in ("bp", "reset")}
    pathlib.Path("study.yaml").write_text(yaml.safe_dump(settings))
    command = ["run", "study.yaml", "--out", "kept", "--apart", "--at-most", "1", "--resume"]
    for ended in (1, 2):
        assert main(command) == 0
        assert (f"{ended} of 2 training runs have ended" in capsys.readouterr().out) == (ended < 2)
        assert len(studies.load_results("kept").members) == ended
    assert main(["plot", "kept", "--only", "performance"]) == 0
    assert main(["report", "kept"]) == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_study_has_its_command(path):
    rows = (ROOT / "docs" / "results" / "README.md").read_text().splitlines()
    name = f"`{path.relative_to(ROOT / 'examples').as_posix()}`"
    assert [row.split("|")[3].strip() for row in rows if f"| {name}" in row] == [f"`{path.stem}`"]


def test_histories_are_small(tmp_path):
    """A hundred tasks with 100 columns of probes at every tenth task, and a spectrum."""
    draws = np.random.default_rng(0)
    columns: dict[str, Any] = {"test_loss": draws.normal(size=100)}
    for i in range(100):
        columns[f"probe.start.{i}"] = np.full((100, 8 if i % 5 == 0 else 1), np.nan, np.float32)
    columns["hessian.start.nodes"] = np.full((100, 1, 40), np.nan, np.float32)
    for column in list(columns.values())[1:]:
        column[::10] = draws.normal(size=column[::10].shape)
    member = Member("bp", 0, "finished", "", recorded(columns), seconds=1.0, together=1)
    save_member(tmp_path, member)
    read = load_member(tmp_path, "bp", 0)
    assert read is not None
    for name, column in columns.items():
        assert read.history[name].dtype == column.dtype
        np.testing.assert_array_equal(read.history[name], column)
    np.savez(plain := io.BytesIO(), allow_pickle=False, **columns)
    size = (member_folder(tmp_path, "bp", 0) / "history.npz").stat().st_size
    assert size < 50_000
    assert size < plain.getbuffer().nbytes / 2
