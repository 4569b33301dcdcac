"""Parts of one's own that do not fit: one message before training, which names the part."""

import importlib
import json
import sys
import types

import numpy as np
import optax
import pytest
import yaml
from tiny_own import Affine, Line

from spectral import algorithms, Ensemble, Optimiser, Quantity, studies
from spectral._base._quantity_facts import check_facts
from spectral.studies import load_experiment, SettingsError
from spectral.studies.command_line._main import main
from spectral.studies.experiment._grid import Cell, expand
from spectral.studies.experiment._own_parts import own_parts
from spectral.studies.runs._quantities import load_quantities
from spectral.studies.runs._score import Score, score_of


CHAIN = {
    "type": "optax:chain",
    "args": [
        {"type": "optax:clip_by_global_norm", "max_norm": 100.0},
        {"type": "optax:sgd", "learning_rate": 0.1},
    ],
}
PARTS = {
    "seeds": 2,
    "stream": {"type": "tiny_own:Line"},
    "model": {"type": "tiny_own:Affine", "scale": 0.25},
    "algorithms": {"own": {"type": "bp", "lr": 0.1}},
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes an experiment of tiny parts, with sections replaced."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(**sections):
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(PARTS | sections))
        return path

    return write


def test_an_algorithm_without_arrays_trains_from_several_seeds(written, tmp_path):
    """Like an equal one with arrays, also from its checkpoint."""
    both = {"chain": {"type": "bp", "lr": CHAIN}, "plain": {"type": "bp", "lr": 0.1}}
    results = studies.run_experiment(load_experiment(written(algorithms=both)), tmp_path / "run")
    chain, plain = (results.of(name) for name in both)
    assert [member.status for member in chain] == ["finished"] * 2
    for a, b in zip(chain, plain, strict=True):
        np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-6)
    learner = studies.load_learner(tmp_path / "run", algorithm="chain", seed=1)
    loss = np.mean((learner.model.weight.sum() - 3.0) ** 2)
    assert 0 < loss < chain[1].history["loss"][-1].min()


@pytest.mark.slow
def test_schedules_and_finished_transformations_train(tmp_path):
    cosine = optax.cosine_decay_schedule(0.1, 100)
    algos = {
        "finished": algorithms.bp(optax.sgd(0.1)),
        "cosine": algorithms.bp(Optimiser(optax.sgd, learning_rate=cosine)),
    }
    experiment = studies.experiment_of(
        stream=Line(), model=lambda *, key: Affine(), algorithms=algos, seeds=2
    )
    results = studies.run_experiment(experiment, tmp_path / "run")
    losses = [results.of(name)[1].history["loss"] for name in algos]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    options = {"algorithms": ["finished"], "num_examples": 3, "experiment": experiment}
    files = studies.draw_run_landscapes(tmp_path / "run", **options)
    assert all(path.exists() for path in files)


def test_an_ensemble_of_equal_parts():
    with pytest.raises(ValueError, match="which has no arrays, .*: pass one of them itself"):
        Ensemble.of([algorithms.bp(optax.sgd(0.1))] * 2)


def test_a_score_must_have_a_direction():
    known = {"loss": Quantity("loss"), "depth": Quantity("depth", better="lower")}
    with pytest.raises(SettingsError, match="'loss', which says neither that higher nor that low"):
        score_of({"score": {"measure": "loss"}}, known)
    assert score_of({"score": {"measure": "depth"}}, known).measure == "depth"


def test_a_sweep_over_own_parts_is_run_again(tmp_path, monkeypatch):
    """From the files in its folder, although the module lies elsewhere."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "parts_of_sweep.py").write_text("from tiny_own import Affine, tagged")
    algos = {"own": {"type": "parts_of_sweep:tagged", "lr": {"grid": [0.1, 1e-3]}}}
    path = tmp_path / "own.yaml"
    score = {"measure": "distance"}
    path.write_text(yaml.safe_dump(PARTS | {"seeds": 1, "algorithms": algos, "score": score}))
    importlib.invalidate_caches()
    sweep = studies.load_sweep(path)
    table = studies.run_sweep(sweep, tmp_path / "sweep")
    assert table["cell"][table["selected"]].tolist() == ["own-1"]
    with pytest.raises(SettingsError, match="neither that higher nor"):
        studies.select(
            studies.load_results(tmp_path / "sweep"), sweep.cells, Score("height", "all")
        )
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "parts_of_sweep")
    importlib.invalidate_caches()
    for load, name in ((load_experiment, "selected.yaml"), (studies.load_sweep, "sweep.yaml")):
        assert load(tmp_path / "sweep" / name)


def test_a_grid_in_a_list():
    clip = lambda value: {"type": "chain", "args": [1, {"type": "sgd", "lr": value}, [3]]}
    cells = expand({"a": clip({"grid": [0.1, 0.2]}), "b": {"type": "x", 5: {"grid": [1, 2]}}})
    assert cells["a-1"] == Cell("a", {"args.1.lr": 0.1}, clip(0.1))
    assert cells["a-2"] == Cell("a", {"args.1.lr": 0.2}, clip(0.2))
    assert cells["b-2"] == Cell("b", {"5": 2}, {"type": "x", 5: 2})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limits": (0.0,)}, r"`limits` of the quantity 'v' is \(0.0,\), but must be a tuple of"),
        ({"limits": (1.0, 0.0)}, "smallest and the largest"),
        ({"reduce": True}, "`reduce` of the quantity 'v' is True, but must be the name"),
        ({"figure": "../../esc"}, r"`figure` .* is '../../esc', but must be letters, digits, _"),
        ({"figure": ""}, "`figure`"),
        ({"guess": float("nan")}, "`guess` of the quantity 'v' is nan, but must be a finite"),
        ({"unit": 3}, "`unit` of the quantity 'v' is 3, but must be a text"),
        (
            {"cost": -1},
            "`cost` of the quantity 'v' is -1, but must be a finite number that is not n",
        ),
        ({"compared": "yes"}, "`compared` of the quantity 'v' is 'yes', but must be True or"),
    ],
)
def test_a_quantity_that_is_wrong(given, message):
    facts = Quantity("v").facts | {"limits": (None, None)} | given
    with pytest.raises(ValueError, match=message):
        check_facts(types.SimpleNamespace(**facts))


def test_integers_of_a_quantity_are_numbers():
    """A run folder gives them back as floats."""
    quantity = Quantity("v", limits=(0, None), guess=1, cost=2)
    assert (repr(quantity.limits), repr(quantity.guess)) == ("(0.0, None)", "1.0")
    assert repr(quantity.cost) == "2.0"
    facts = quantity.facts
    facts["limits"] = tuple(facts["limits"])
    assert Quantity(**facts) == quantity


def test_a_foreign_run_folder_names_no_path(tmp_path):
    quantity = Quantity("v").facts | {"figure": "../../esc"}
    (tmp_path / "quantities.json").write_text(json.dumps({"v": quantity}))
    with pytest.raises(SettingsError, match="figure"):
        load_quantities(tmp_path)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"probes": "a list"}, r"In `probes.p`: `probes\['p'\].quantities\(\)` is \['weights'\]"),
        ({"probes": "texts"}, r"In `probes.p`: .*but must be a dictionary from the names"),
        ({"probes": "an entry"}, "'weights' with `reduce=7`, but its column has 3 numbers for ea"),
        ({"probes": "limits"}, r"In `probes.p`: `probes\['p'\].quantities\(\)`: `limits` of the"),
        ({"probes": "a path"}, "In `probes.p`: .*`figure` of the quantity 'my weights' is"),
        ({"probes": "a key"}, r"`Weights.__call__` returned an array of type key<fry>.*'weights'"),
        ({"probes": "complex"}, "`Weights.__call__` returned an array of type complex64"),
        ({"num_tasks": 0}, "In `stream`: `stream.num_tasks` is 0, but must be an integer of at"),
        ({"num_tasks": 2.0}, "In `stream`: `stream.num_tasks` is 2.0, but must be an integer of"),
        ({"chunks_per_task": 0}, "In `stream`: `stream.chunks_per_task` is 0, but must be an int"),
        ({"minibatches": "2"}, "In `stream`: `stream.minibatches` is '2', but must be an integer"),
        ({"wrong": "begin_task"}, r"In `stream`: `Line.begin_task` returned None, but must return"),
        ({"wrong": "init", "other": 3}, "In `stream`: `Line.begin_task` returned .*`init`"),
        ({"wrong": "criterion"}, "In `stream`: The metric 'loss' is recorded twice, .* of Line or"),
        ({"type": "tiny_own:Short"}, r"In `stream`: .*forward\(\) (takes|got)"),
        ({"wrong": "collect"}, "In `stream`: `Line.collect` returned a tuple of 3"),
        ({"wrong": "evaluate"}, r"In `stream`: KeyError: 'no such row' \(.*tiny_own.py, line"),
    ],
)
def test_messages_name_the_part(written, sections, message):
    given = {"stream": {"type": "tiny_own:Line", **sections}}
    if "probes" in sections:
        given = {"probes": {"p": {"type": "tiny_own:Weights", "case": sections["probes"]}}}
    with pytest.raises(SettingsError, match=message):
        load_experiment(written(**given))


def test_a_function_that_makes_no_network():
    with pytest.raises(SettingsError, match="In `model`: ZeroDivisionError"):
        studies.experiment_of(
            stream=Line(), model=lambda *, key: 1 / 0, algorithms={"own": algorithms.bp()}
        )


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        ({"type": "tiny_own:tagged", "tag": "json:one"}, "'json'.*annotate the parameter as `str`"),
        ({"type": "bp", "lr": {"type": "optax:adamw"}}, "number or a schedule such as .*optax:cos"),
        (
            {
                "type": "bp",
                "lr": {"type": "optax:cosine_decay_schedule", "init_value": 1, "decay_steps": 2},
            },
            r"must make a number or an .* or an optax transformation\. A schedule is the `learning",
        ),
        ({"type": "optax:adm"}, r"Allowed: .*adam.*, \.\.\.; did you mean 'adam'"),
        (
            {"type": "tiny_own:tagge"},
            r"Allowed: Affine, Line, Short, Weights, tagged; did you mean",
        ),
    ],
)
def test_messages_about_arguments(written, algorithm, message):
    with pytest.raises(SettingsError, match=message) as caught:
        load_experiment(written(algorithms={"own": algorithm}))
    assert "jaxlib" not in str(caught.value)
    assert "in_bowl" not in str(caught.value)


@pytest.mark.usefixtures("untraced")
def test_text_that_looks_like_a_name(written):
    """It stays text if the parameter has no annotation and there is no such module."""
    tagged = {"type": "tiny_own:tagged", "tag": "exp:one"}
    experiment = load_experiment(written(algorithms={"own": tagged}))
    assert experiment.settings["algorithms"]["own"]["tag"] == "exp:one"
    recorded = own_parts(experiment.settings, ())
    assert recorded is not None
    assert "exp" not in recorded["modules"]


@pytest.mark.usefixtures("untraced")
def test_the_record_has_the_modules_that_own_modules_import(written, tmp_path, monkeypatch):
    (tmp_path / "own_helper.py").write_text("FACTOR = 2")
    text = "import own_helper, tiny_own\n\ndef made(lr: float):\n    return tiny_own.tagged(lr)\n"
    (tmp_path / "own_first.py").write_text(text)
    importlib.invalidate_caches()
    path = written(algorithms={"own": {"type": "own_first:made", "lr": 0.1}})
    try:
        experiment = load_experiment(path)
        before = own_parts(experiment.settings, experiment.folders)
        (tmp_path / "own_helper.py").write_text("FACTOR = 3")
        after = own_parts(experiment.settings, experiment.folders)
    finally:
        for name in ("own_first", "own_helper"):
            sys.modules.pop(name, None)
    assert before is not None
    assert after is not None
    assert set(before["modules"]) == {"own_first", "own_helper", "tiny_own"}
    changed = [n for n, about in before["modules"].items() if about != after["modules"][n]]
    assert changed == ["own_helper"]


@pytest.mark.parametrize(
    "text", ["import sys; sys.exit(3)", "def made():\n    raise SystemExit(3)"]
)
def test_a_module_that_exits(written, tmp_path, capsys, text):
    (tmp_path / "exits.py").write_text(text)
    importlib.invalidate_caches()
    path = written(algorithms={"own": {"type": "exits:made"}})
    try:
        assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    finally:
        sys.modules.pop("exits", None)
    assert "SystemExit: 3" in capsys.readouterr().err
