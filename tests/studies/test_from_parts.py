"""Experiments from parts that were made in Python."""

import functools
import inspect
import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from tables import permuted

from spectral import algorithms, models, probes, studies
from spectral.studies import experiment_of, run_experiment, Score, SettingsError, sweep_of
from spectral.studies.command_line._main import main
from spectral.studies.experiment._record_part import record_part
from spectral.studies.runs._saved import check_member


class Halved(eqx.Module):
    """A part of one's own, with an array."""

    weights: jnp.ndarray
    note: str = eqx.field(static=True, default="half")


def parts(**changed):
    """The arguments of a tiny experiment."""
    stream = permuted(num_tasks=2).stream
    return {
        "stream": stream,
        "model": functools.partial(models.MLP, 6, 3, width=3, depth=1),
        "algorithms": {
            "weak": algorithms.l2(0.05, weight_decay=1e-3),
            "strong": algorithms.l2(0.1),
        },
        "probes": {"dead": probes.DeadUnits(num_examples=9)},
    } | changed


def test_records():
    """Equal parts have equal records, and the smallest change shows."""
    given = parts()
    record = record_part(given)
    assert record == record_part(parts())
    assert record == yaml.safe_load(yaml.safe_dump(record))
    assert record["model"] == {"type": "MLP", "args": [6, 3], "width": 3, "depth": 1}
    assert record["stream"]["type"] == "PermutedImages"
    assert record["stream"]["num_tasks"] == 2
    assert record["algorithms"]["weak"]["optimiser"]["hyper"]["learning_rate"] == 0.05
    assert record["probes"]["dead"]["num_examples"] == 9
    own = record_part(Halved(jnp.arange(3.0)))
    assert own["type"] == f"{__name__}:Halved"
    assert own["note"] == "half"
    assert own["weights"].startswith("float32[3] ")
    assert own != record_part(Halved(jnp.arange(3.0).at[1].set(1.5)))
    made = [record_part(lambda key, scale=s: scale) for s in (1, 2)]
    assert made[0]["hash"] != made[1]["hash"]
    assert record_part(float("nan")) == "nan"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "run"
    sweep = sweep_of(
        experiment_of(**parts()), cells={"l2": ["weak", "strong"]}, score=Score("accuracy", "all")
    )
    return folder, studies.run_sweep(sweep, folder)


def test_a_run_from_parts(run, tmp_path):
    folder, table = run
    assert table["cell"].tolist() == ["weak", "strong"]
    assert table["algorithm"].tolist() == ["l2", "l2"]
    assert table["selected"].sum() == 1
    assert not (folder / "selected.yaml").exists()

    text = (folder / "config.yaml").read_text()
    assert "cannot be run again" in text.splitlines()[0]
    assert yaml.safe_load(text)["recorded"]["made_in_python"] is True
    results = studies.load_results(folder)
    assert "dead.start.fraction" in experiment_of(**parts()).quantities
    json.dumps(studies.summarise(results), allow_nan=False)
    assert studies.load(folder).sizes["run"] == 2
    assert studies.draw_figures(folder, folder=tmp_path / "figures")
    assert studies.write_report([folder], tmp_path / "report.html").exists()


def test_only_equal_parts_resume(run):
    folder, _ = run
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.np?")}
    run_experiment(experiment_of(**parts()), folder, mode="resume")
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*.np?")}
    wider = functools.partial(models.MLP, 6, 3, width=4, depth=1)
    with pytest.raises(SettingsError, match="`model.width` was 3 and is now 4"):
        run_experiment(experiment_of(**parts(model=wider)), folder, mode="resume")


def test_networks_need_the_parts(run, capsys):
    folder, _ = run
    ours = parts()
    turned = parts(algorithms=dict(reversed(ours["algorithms"].items())))
    found = [
        studies.load_learner(folder, algorithm="strong", experiment=experiment_of(**p))
        for p in (ours, turned)  # the order of algorithms does not matter
    ]
    np.testing.assert_array_equal(*(learner.model.layers[0].weight for learner in found))
    with pytest.raises(SettingsError, match="made in Python, so it cannot be made again"):
        studies.load_learner(folder, algorithm="strong")
    assert main(["run", str(folder / "config.yaml")]) == 2
    assert "made in Python, so it cannot be made again" in capsys.readouterr().err
    other = experiment_of(**parts(seeds=2))
    with pytest.raises(SettingsError, match="`seed` is '0', but the run has the seeds 0 to 0"):
        inspect.unwrap(check_member)(studies.load_results(folder), "strong", "0")
    with pytest.raises(SettingsError, match="`experiment` is not that of the run.*`seeds` was 1"):
        studies.load_learner(folder, algorithm="strong", experiment=other)


@pytest.mark.slow
def test_landscapes_of_parts(run):
    folder, _ = run
    options = {"algorithms": ["weak"], "num_examples": 9, "experiment": experiment_of(**parts())}
    assert all(path.exists() for path in studies.draw_run_landscapes(folder, **options))


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": 0}, "`seeds` is 0, but must be an integer of at least 1"),
        ({"model": models.MLP}, "`model` is .*MLP.*, but must be a function that makes a network"),
        ({"algorithms": {}}, "`algorithms` is {}, but must be a mapping"),
        ({"algorithms": {"a b": algorithms.bp()}}, "`algorithms` has the name 'a b'"),
    ],
)
def test_what_does_not_fit(changed, message):
    with pytest.raises(SettingsError, match=message):
        experiment_of(**parts(**changed))


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("cells", "score", "message"),
    [
        ({"l2": ["weak"]}, Score("accuracy", "all"), "`cells` has the cells weak, but must have"),
        ({"l2": ["weak", "strong", "weak"]}, Score("accuracy", "all"), "each algorithm .* once"),
        ({"l2": ["weak", "strong"]}, Score("acuracy", "all"), "did you mean 'accuracy'"),
    ],
)
def test_cells_and_scores_that_do_not_fit(cells, score, message):
    with pytest.raises(SettingsError, match=message):
        sweep_of(experiment_of(**parts()), cells=cells, score=score)
    with pytest.raises(SettingsError, match="`over`: Choice 'some' does not exist"):
        Score("accuracy", "some")


def test_parts_are_traced():
    """Before anything is compiled."""
    with pytest.raises(SettingsError, match="In `algorithms.er`: .*5"):
        experiment_of(**parts(algorithms={"er": algorithms.l2_er(0.1, er_period=5)}))
