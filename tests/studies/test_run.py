import dataclasses
import io
import json
import pathlib
import shutil
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from jax.core import Tracer
from recorded_history import recorded
from watching import Traces

from spectral import _loop, _measuring, _programs, AbstractMeter, recording, studies
from spectral._ensemble import spread
from spectral.studies.command_line._main import main
from spectral.studies.experiment._groups import groups
from spectral.studies.runs import _keeper
from spectral.studies.runs.cluster import _train_group


ROOT = pathlib.Path(__file__).parents[2]


def files(folder: pathlib.Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def stamps(folder: pathlib.Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in files(folder)}


@pytest.fixture
def run(plain, tmp_path):
    """A function that runs a tiny experiment without probes into the folder `out`."""
    return lambda *options: main(["run", str(plain), "--out", str(tmp_path / "out"), *options])


def test_run(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    dead = "probes={dead: {type: DeadUnits, num_examples: 50, when: [start], every: 2}}"
    options = ["--json", "--set", "algorithms.bp.lr=2e-2", "--set", dead]
    assert main(["run", str(tiny()), "--out", str(out), *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no progress bar without a terminal
    *text, last = captured.out.splitlines()
    summary = json.loads(last)
    assert summary["folder"] == str(out)
    assert "accuracy" in "\n".join(text)
    assert text[-1] == f"The results are in {out}. To draw them: spectral plot {out}"

    assert {"config.yaml", "summary.json"} <= files(out)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["algorithms"] == {"bp": {"type": "bp", "lr": 0.02}}
    facts = {"spectral", "jax", "python", "device", "devices", "commit", "command", "started"}
    assert facts <= config["recorded"].keys()
    for seed in range(2):
        folder = out / "bp" / f"seed_{seed}"
        assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert (out / "checkpoints" / "0").is_dir()
    assert not [name for name in files(out) if name.endswith(".part")]

    results = studies.load_results(out)
    members = results.of("bp")
    assert [m.seed for m in members] == [0, 1]
    last_accuracies = [float(m.history["test_accuracy"][-1]) for m in members]
    means = summary["algorithms"]["bp"]["measures"]["accuracy"]
    assert means["by_seed"] == pytest.approx(last_accuracies)  # a fifth of 4 tasks is the last
    assert json.loads((out / "summary.json").read_text())["algorithms"] == summary["algorithms"]
    measured = np.isfinite(members[0].history["dead.start.fraction"])
    assert measured.tolist() == [True, False, True, False]
    assert not np.array_equal(members[0].history["test_loss"], members[1].history["test_loss"])

    # Running the written configuration gives the same results.
    again = tmp_path / "again"
    assert main(["run", str(out / "config.yaml"), "--out", str(again)]) == 0
    for old, new in zip(members, studies.load_results(again).of("bp"), strict=True):
        assert old.history.keys() == new.history.keys()
        for name in old.history:
            np.testing.assert_array_equal(old.history[name], new.history[name])


@pytest.mark.slow
def test_plot_draws_all_figures(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(tiny()), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["plot", str(out)]) == 0
    listed = {pathlib.Path(line) for line in capsys.readouterr().out.splitlines()}
    names = ("performance", "units", "overview", "normalised_epsilon_rank", "curvature_accuracy")
    names += ("hessian_spectra", "curvature")
    assert listed == {out / "figures" / f"{n}.{kind}" for n in names for kind in ("png", "pdf")}
    assert all(path.stat().st_size > 1000 for path in listed)


class Program:
    """Counts the traces of a program. Outside of traces it returns zeros, because compiling it
    would take seconds."""

    def __init__(self, function):
        self.traces = Traces(function)
        self.program = eqx.filter_jit(spread(self.traces))

    def __call__(self, *arguments):
        if any(isinstance(x, Tracer) for x in jax.tree.leaves(arguments)):
            return self.program(*arguments)
        made = eqx.filter_eval_shape(self.program, *arguments)
        shaped = lambda x: isinstance(x, jax.ShapeDtypeStruct)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if shaped(x) else x, made)


def test_check_and_run_share_their_traces(tiny, tmp_path, monkeypatch):
    counted = [Program(_programs.run_tasks), Program(_measuring._measured)]
    monkeypatch.setattr(_programs, "segment", counted[0])
    monkeypatch.setattr(_measuring, "_measurement", counted[1])
    experiment = studies.load_experiment(tiny())
    checked = [program.traces.count for program in counted]
    studies.run_experiment(experiment, tmp_path / "out")
    assert checked == [program.traces.count for program in counted]
    assert all(checked)


def test_runs_are_protected(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert run() == 0
    before = stamps(out)
    capsys.readouterr()

    assert run() == 2
    assert "holds a run already: pass --resume" in capsys.readouterr().err
    assert run("--resume", "--set", "algorithms.bp.lr=0.5") == 2
    assert "`algorithms.bp.lr` was 0.01 and is now 0.5" in capsys.readouterr().err
    assert stamps(out) == before

    assert run("--resume") == 0  # trains nothing, and writes the summary again
    after = stamps(out)
    assert {n for n in before if before[n] != after[n]} == {"summary.json"}

    (out / "notes.txt").write_text("mine")
    (out / "bp" / "notes.txt").write_text("mine")
    (out / "bp" / "seed_of_doubt").mkdir()
    old = out / "bp" / "seed_0" / "history.npz"
    (out / "figures").mkdir()
    (out / "figures" / "performance.png").write_text("stale")
    (out / "figures" / "own.png").write_text("mine")
    assert run("--overwrite", "--set", "algorithms={other: {type: bp, lr: 0.5}}") == 0
    assert not old.exists()
    assert (out / "bp" / "seed_of_doubt").is_dir()
    assert [p.name for p in (out / "figures").iterdir()] == ["own.png"]
    assert (out / "other" / "seed_0" / "history.npz").exists()
    assert (out / "notes.txt").read_text() == (out / "bp" / "notes.txt").read_text() == "mine"
    assert yaml.safe_load((out / "config.yaml").read_text())["algorithms"].keys() == {"other"}


@pytest.mark.parametrize("option", ["--overwrite", "--resume", "--json"])
def test_other_folders_are_not_written_to(run, tmp_path, capsys, option):
    out = tmp_path / "out"
    (out / "bp" / "seed_0").mkdir(parents=True)
    (out / "config.yaml").write_text("seeds: 1")
    (out / "bp" / "seed_0" / "history.npz").write_text("precious")
    before = stamps(out)
    assert run(option) == 2
    assert "holds files that were not written by a run" in capsys.readouterr().err
    assert stamps(out) == before
    assert main(["plot", str(out)]) == 2
    assert "does not hold a run" in capsys.readouterr().err


def test_interrupted_run_is_resumed(run, tmp_path, capsys, monkeypatch):
    """Of two programs the first has finished, and the second resumes from its checkpoint."""
    two = ("--set", "algorithms={bp: {type: bp, lr: 1e-2}, l2: {type: l2, lr: 1e-2}}")
    assert run(*two) == 0
    load = lambda: studies.load_results(tmp_path / "out").members
    whole = load()
    (tmp_path / "out").rename(tmp_path / "whole")

    seen = []

    class Interrupting(AbstractMeter):
        def __init__(self, *, label: str):
            self.label = label

        def update(self, done, total, history):
            seen.append((self.label, done))
            if interrupt and self.label == "l2, 2 seeds" and done == 2:
                # The records can be read during the run.
                data = studies.load(tmp_path / "out")
                assert data["status"].sel(run="l2").values.tolist() == ["unfinished"] * 2
                assert np.isfinite(data["test_accuracy"].sel(run="l2", task=1)).all()
                assert np.isnan(data["test_accuracy"].sel(run="l2", task=2)).all()
                raise KeyboardInterrupt

        def close(self):
            pass

    monkeypatch.setattr(_train_group, "ProgressBar", Interrupting)
    monkeypatch.setattr(_keeper, "TIME_FRACTION", np.inf)
    monkeypatch.setattr(_loop, "_SEGMENT_SECONDS", 0.0)  # a segment for each task
    interrupt = True
    assert run(*two) == 130
    assert "--resume" in capsys.readouterr().err
    half = load()
    assert [m.status for m in half] == ["finished"] * 2 + ["unfinished"] * 2
    assert half[3].history.num_tasks == 2
    first = (tmp_path / "out" / "bp" / "seed_0" / "history.npz").stat().st_mtime_ns

    interrupt = False
    seen.clear()
    # The order of the algorithms differs from that of the checkpoints.
    two = ("--set", "algorithms={l2: {type: l2, lr: 1e-2}, bp: {type: bp, lr: 1e-2}}")
    assert run(*two, "--resume") == 0
    assert seen[0] == (
        "l2, 2 seeds",
        2,
    )  # from its checkpoint; finished members are not trained again
    assert (tmp_path / "out" / "bp" / "seed_0" / "history.npz").stat().st_mtime_ns == first
    for old, new in zip(whole, load(), strict=True):
        assert new.status == "finished"
        assert (new.algorithm, new.seed, new.together) == (old.algorithm, old.seed, 2)
        assert new.seconds > 0
        for name in old.history:
            np.testing.assert_array_equal(old.history[name], new.history[name])


def test_other_members_continue_after_a_divergence(run, tmp_path, capsys):
    algorithms = "algorithms={wild: {type: bp, lr: 1e30}, bp: {type: bp, lr: 1e-2}}"
    few = ("--seeds", "1", "--set", algorithms)
    assert run(*few, "--json") == 1
    out, err = capsys.readouterr()
    assert "wild, seed 0, diverged: the loss in task" in err
    assert "0 (1 diverged)" in out
    summary = json.loads(out.splitlines()[-1])["algorithms"]
    assert summary["wild"]["diverged"] == [0]
    assert summary["wild"]["measures"] == {}
    assert summary["bp"]["finished"] == [0]
    member = studies.load_results(tmp_path / "out").of("wild")[0]
    assert member.status == "diverged"
    assert np.isnan(member.history["test_accuracy"]).any()
    assert run(*few, "--resume") == 1  # it would diverge again
    assert main(["plot", str(tmp_path / "out")]) == 0
    drawn = {p.name for p in (tmp_path / "out" / "figures").iterdir()}
    assert drawn == {"performance.png", "performance.pdf"}


def test_progress_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = recording.ProgressBar(label="bp, seed 0")
    for done in (1, 2):  # as after resuming
        bar.update(done, 2, recorded({"test_accuracy": np.array([0.25, 0.75])[:done]}))
    shown = terminal.getvalue()
    assert "bp, seed 0:  50%" in shown
    assert "accuracy 0.250" in shown
    assert "2/2" in shown
    assert "accuracy 0.750" in shown


def test_plot_needs_a_run(tmp_path, capsys):
    assert main(["plot", str(tmp_path / "none")]) == 2
    assert "does not hold a run" in capsys.readouterr().err


def test_exit_status_of_the_process():
    command = pathlib.Path(sys.executable).with_name("spectral")
    # Rejected before JAX is imported, which takes seconds.
    arguments = [command, "run", "no.yaml", "--devices", "0"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "spectral run: `--devices` is 0, but must be an integer of at least 1.\n"


EXAMPLES = ["digits", "permuted_mnist", "permuted_mnist_paper"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_valid(name, untraced):
    check_example(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_programs_of_examples_can_be_traced(name):
    check_example(name)


def check_example(name):
    path = pathlib.Path(__file__).parents[2] / "examples" / f"{name}.yaml"
    # The digits replace MNIST, which is not installed.
    experiment = studies.load_experiment(
        path,
        assignments=[
            "stream.images.name=digits",
            "stream.num_tasks=2",
            "model.width=4",
            *[f"probes.{p}.num_examples=50" for p in ("dead", "rank", "hessian")],
        ],
    )
    assert experiment.algorithms.keys() == {"bp", "l2", "er", "l2_er"}


def test_apart(run, plain, tmp_path, capsys):
    """One training run at a time, from what docs/results/.gitignore leaves of the earlier ones,
    and then with one more seed: the same numbers as in one go. What it leaves can be drawn."""
    out = tmp_path / "out"
    for seeds in (1, 2):
        more = ["--resume"] if seeds > 1 else ["--apart", "--resume"]  # there is no run yet
        assert run("--seeds", str(seeds), *more) == 0
        members = studies.load_results(out).members
        assert [m.seed for m in members] == list(range(seeds))
        assert all(m.together == 1 for m in members)
        learner = studies.load_learner(out, algorithm="bp", seed=seeds - 1)
        assert jnp.isfinite(learner.model.layers[0].weight).all()
        shutil.move(out, tmp_path / "whole")
        left_out = (ROOT / "docs" / "results" / ".gitignore").read_text().split("\n")
        left_out = [line.strip("/") for line in left_out if line and not line.startswith("#")]
        shutil.copytree(tmp_path / "whole", out, ignore=shutil.ignore_patterns(*left_out))
        kept = {"config.yaml", "quantities.json", "summary.json", ".spectral-run"}
        kept |= {f"bp/seed_{i}/{n}" for i in range(seeds) for n in ("history.npz", "status.json")}
        assert files(out) == kept
        shutil.rmtree(tmp_path / "whole")
    assert studies.summarise(studies.load_results(out))["algorithms"]["bp"]["finished"] == [0, 1]
    assert studies.draw_figures(out, only=["performance"])
    assert studies.write_report([out], tmp_path / "report.html").stat().st_size > 1000
    assert studies.load_results(out).settings["seeds"] == 2
    assert run("--overwrite", "--at-most", "1") == 0
    assert "2 of 2" not in capsys.readouterr().out
    for member, one in zip(studies.load_results(out).members, members, strict=True):
        assert one.history["test_accuracy"] == pytest.approx(member.history["test_accuracy"])


def test_order_of_training_runs(plain):
    two = ["algorithms={bp: {type: bp, lr: 1e-2}, adam: {type: bp, lr: {type: adam, lr: 1e-3}}}"]
    experiment = studies.load_experiment(plain, assignments=two)
    apart = dataclasses.replace(experiment, apart=True)
    names = (("bp", 0), ("adam", 0), ("bp", 1), ("adam", 1))
    assert [group.names for group in groups(apart)] == [(name,) for name in names]
    assert [group.label for group in groups(apart)][:2] == ["bp, seed 0", "adam, seed 0"]
    assert [group.names for group in groups(experiment)] == [names[::2], names[1::2]]


def test_apart_and_together_do_not_mix(run, tmp_path, capsys):
    two = "algorithms={bp: {type: bp, lr: 1e-2}, l2: {type: l2, lr: 1e-2}}"
    assert run("--at-most", "1", "--set", two) == 0
    assert "2 of 4 training runs have ended. --resume" in capsys.readouterr().out
    assert run("--resume", "--apart", "--set", two) == 2
    assert "`apart` is true, but the members of the run" in capsys.readouterr().err
    assert run("--overwrite", "--at-most", "0") == 2
    assert "`at_most` is 0" in capsys.readouterr().err
    assert run("--resume", "--seeds", "3", "--set", two) == 2
    assert "`seeds` was 2 and is now 3" in capsys.readouterr().err
