"""The example in which everything is of one's own, through all commands, at small size."""

import pathlib
import sys

import equinox as eqx
import jax
import pytest

from spectral import studies
from spectral.studies.command_line._main import main


EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "own_everything" / "experiment.yaml"
SMALL = [
    "seeds=1",
    "stream.num_tasks=2",
    "stream.epochs=1",
    "model.width=4",
    "probes.hessian.every=1",
    "probes.hessian.num_examples=20",
    "probes.hessian.estimator.order=2",
]
SETTINGS = [part for assignment in SMALL for part in ("--set", assignment)]


@pytest.fixture(autouse=True)
def forget_the_package(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "wine"]:
        del sys.modules[name]


def test_run_plot_report_landscape_and_load(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", str(EXAMPLE), *SETTINGS, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    for name in ("validation accuracy", "weights clipped since the run began", "largest weight"):
        assert name in told
    for name in [name for name in sys.modules if name.partition(".")[0] == "wine"]:
        del sys.modules[name]
    assert main(["plot", str(out)]) == 0
    assert {"clipping", "weights", "performance"} <= {p.stem for p in (out / "figures").iterdir()}
    assert main(["report", str(out), "--out", str(tmp_path / "report.html")]) == 0
    assert "weights clipped since the run began" in (tmp_path / "report.html").read_text()
    assert not any(name.partition(".")[0] == "wine" for name in sys.modules)
    assert main(["landscape", str(out), "--num-examples", "10", "--algorithm", "clipped"]) == 0
    learner = studies.load_learner(out, algorithm="clipped")
    assert type(learner.model).__module__ == "wine.network"
    largest = max(abs(x).max() for x in jax.tree.leaves(eqx.filter(learner.model, eqx.is_array)))
    assert 0 < largest <= 1.0


def test_sweep(tmp_path, capsys):
    grid = "algorithms={clipped: {type: 'wine.training:clipped', limit: {grid: [0.3, 1.0]}}}"
    few = [*SETTINGS, "--set", grid, "--set", "probes={}"]
    assert main(["sweep", str(EXAMPLE), *few, "--out", str(tmp_path / "sweep")]) == 0
    told = capsys.readouterr().out
    assert "mean validation accuracy over all tasks and seeds, on validation rows" in told
    assert (tmp_path / "sweep" / "selected.yaml").exists()
