"""Faults of the disk: damaged or foreign checkpoints, two processes, a full disk, no folder."""

import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_mass import actor_critic, point_mass
from tables import permuted
from tiny_experiment import TINY
from watching import StopAfter, StoppedError

from spectral import (
    _loop,
    AbstractCheckpointer,
    AbstractMeter,
    algorithms,
    studies,
    tasks,
    train_continual,
)
from spectral.recording import OrbaxCheckpointer
from spectral.studies.command_line._main import main
from spectral.studies.runs import _keeper, _run
from spectral.studies.runs._folder import MARKER
from spectral.studies.runs._lock import sole_writer


def train(lr=0.05, **options):
    setting = permuted()
    algo = algorithms.bp(lr)
    return train_continual(setting.model, setting.stream, algo, segment_tasks=1, **options)


def stop_after_two(folder, lr=0.05):
    """Checkpoints of tasks 1 and 2."""
    with pytest.raises(StoppedError):
        train(lr, checkpointer=StopAfter(folder, 2))


def truncate(step: pathlib.Path) -> None:
    largest = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def empty_the_description(step: pathlib.Path) -> None:
    (about,) = [p for p in (step / "about").iterdir() if p.name == "metadata"]
    about.write_text("{")


@pytest.mark.parametrize("damage", [truncate, empty_the_description])
def test_damaged_checkpoint_is_rejected(damage, tmp_path):
    _, whole = train()
    stop_after_two(tmp_path)
    damage(tmp_path / "2")
    with pytest.warns(
        UserWarning, match=r"task 2 in .* is damaged: .*\. The one of task 1 is used"
    ):
        _, history = train(checkpointer=OrbaxCheckpointer(tmp_path))
    for name in whole:
        np.testing.assert_array_equal(whole[name], history[name])
    assert (tmp_path / "rejected-2").is_dir()
    for step in ("2", "3"):
        damage(tmp_path / step)
    with pytest.raises(ValueError, match=r"No checkpoint .*task 3 is damaged.*task 2 is damaged"):
        train(checkpointer=OrbaxCheckpointer(tmp_path))


class EnvironmentWithEmptyState(tasks.AbstractEnvironment):
    """Its state has an array without entries, as the state of some physics engines."""

    observation_size: int = eqx.field(static=True, default=2)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)

    def reset(self, parameter, *, key):
        state, observation = tasks.PointMass().reset(parameter, key=key)
        return (state, jnp.zeros((0, 3))), observation

    def step(self, state, action, parameter, *, key):
        after, step = tasks.PointMass().step(state[0], action, parameter, key=key)
        return (after, state[1]), step


def test_state_with_an_empty_array_is_restored(tmp_path):
    limited = tasks.TimeLimit(EnvironmentWithEmptyState(), 5)
    stream = point_mass()
    stream = eqx.tree_at(lambda s: s.world.environment, stream, limited)

    def train(checkpointer=None):
        model = actor_critic(key=jax.random.key(1))
        options = {"segment_tasks": 1, "checkpointer": checkpointer}
        return train_continual(model, stream, algorithms.bp(), **options)

    _, whole = train()
    with pytest.raises(StoppedError):
        train(StopAfter(tmp_path, 2))
    _, history = train(OrbaxCheckpointer(tmp_path))
    for name in whole:
        np.testing.assert_array_equal(whole[name], history[name])


class Reading(AbstractCheckpointer):
    """Reads the checkpoint of a run, as an observer would, and stops."""

    def __init__(self, inner: OrbaxCheckpointer):
        self.inner = inner

    def restore(self, config, run):
        done, *_ = self.inner.read(config, run) or (None,)
        raise StoppedError(done)

    def save(self, config, done, run, history):
        raise AssertionError


def test_read_does_not_change_the_folder(tmp_path):
    """Not even damaged checkpoints and those that another process is writing."""
    stop_after_two(tmp_path)
    truncate(tmp_path / "2")
    unfinished = tmp_path / "3.orbax-checkpoint-tmp-1" / "arrays"
    unfinished.mkdir(parents=True)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    with (
        pytest.warns(UserWarning, match=r"task 2 in .* The one of task 1 is used"),
        pytest.raises(StoppedError, match="^1$"),
    ):
        train(checkpointer=Reading(OrbaxCheckpointer(tmp_path)))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_checkpoint_of_another_run_is_rejected(tmp_path):
    _, whole = train()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    stop_after_two(ours)
    stop_after_two(theirs, lr=0.01)
    shutil.rmtree(ours / "2")
    shutil.copytree(theirs / "2", ours / "2")
    with pytest.warns(
        UserWarning, match="task 2 in .* another configuration: `algorithm.optimiser"
    ):
        _, history = train(checkpointer=OrbaxCheckpointer(ours))
    for name in whole:
        np.testing.assert_array_equal(whole[name], history[name])


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """A function that runs a tiny experiment into `out`, with a checkpoint after every task."""
    path = tiny()
    path.write_text(TINY[: TINY.index("probes:")])
    monkeypatch.setattr(_keeper, "TIME_FRACTION", np.inf)
    monkeypatch.setattr(_loop, "_SEGMENT_SECONDS", 0.0)
    return lambda *options: main(["run", str(path), "--out", str(tmp_path / "out"), *options])


@pytest.fixture
def after_two_tasks(monkeypatch):
    """A function that schedules a call after the second task."""

    def patch(act):
        class Acting(AbstractMeter):
            def __init__(self, *, label: str):
                self.label = label

            def update(self, done, total, history):
                if done == 2 and todo:
                    todo.pop()()

            def close(self):
                pass

        todo = [act]
        monkeypatch.setattr(_run, "ProgressBar", Acting)

    return patch


@pytest.mark.parametrize(("fraction", "kept"), [(0.0, ["1", "4"]), (np.inf, ["3", "4"])])
def test_saving_time_is_limited(fraction, kept, run, tmp_path, monkeypatch):
    """At a fraction of 0 only the first and the final state are saved."""
    monkeypatch.setattr(_keeper, "TIME_FRACTION", fraction)
    assert run() == 0
    assert sorted(p.name for p in (tmp_path / "out" / "checkpoints" / "0").iterdir()) == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reach", "0"], "`--reach` is 0.0, but"),
        (["--num-examples", "0"], "`--num-examples` is 0, but"),
    ],
)
def test_landscapes_reject(options, message, tmp_path, capsys):
    assert main(["landscape", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_landscapes_of_a_run(run, tmp_path, capsys):
    wild = "algorithms={bp: {type: bp, lr: 1e-2}, wild: {type: bp, lr: 1e30}}"
    assert run("--set", wild) == 1
    capsys.readouterr()
    out = str(tmp_path / "out")
    with pytest.warns(
        UserWarning, match="loss of wild, seed 1, is not finite at any point.*left out"
    ):
        assert main(["landscape", out, "--seed", "1", "--num-examples", "50"]) == 0
    drawn = [pathlib.Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert drawn == ["landscape.png", "landscape.pdf"]
    for options, message in [
        (["--seed", "2"], "`--seed` is 2, but the run has the seeds 0 to 1"),
        (["--algorithm", "pb"], "did you mean 'bp'"),
        (["--num-examples", "5000"], "`--num-examples`: .*1500 rows"),
        (
            ["--algorithm", "wild", "--num-examples", "50"],
            "loss of wild, seed 0, is .*choose another",
        ),
    ]:
        assert main(["landscape", out, *options]) == 2
        assert re.search(message, capsys.readouterr().err)
    shutil.rmtree(tmp_path / "out" / "checkpoints")
    assert main(["landscape", out]) == 2
    assert "holds no checkpoint of 'bp'" in capsys.readouterr().err


def test_two_processes_on_one_folder(run, tmp_path, capsys):
    assert run() == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    with sole_writer(tmp_path / "out" / MARKER):
        for option in ("--resume", "--overwrite"):
            assert run(option) == 2
            assert "is being written to by another process" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_folder_is_deleted_during_a_run(run, tmp_path, capsys, after_two_tasks):
    after_two_tasks(lambda: shutil.rmtree(tmp_path / "out"))
    assert run() == 2
    assert "is gone: it was deleted or moved while the run was being" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# Each thread of the storage library raises the same error, at its own time.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_disk(run, tmp_path, capsys, after_two_tasks):
    """A limit on the size of files simulates a full disk. Earlier checkpoints stay intact."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))
    after_two_tasks(full)
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert run() == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        jax.config.update("jax_enable_compilation_cache", True)
    message = capsys.readouterr().err
    assert "cannot be written to" in message
    assert "What was saved before is intact" in message
    half = studies.load(tmp_path / "out")
    assert np.isfinite(half["test_accuracy"]).all()
    assert half.sizes["task"] == 2
    assert run("--resume") == 0
    shutil.move(tmp_path / "out", tmp_path / "resumed")
    assert run() == 0
    assert_same_results(tmp_path / "resumed", tmp_path / "out")


def test_folder_cannot_be_created(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("--out", str(tmp_path / "file" / "out")) == 2
    assert "cannot be written to" in capsys.readouterr().err


def assert_same_results(a: pathlib.Path, b: pathlib.Path) -> None:
    first, second = (studies.load_results(folder).members for folder in (a, b))
    for one, other in zip(first, second, strict=True):
        assert one.status == other.status == "finished"
        assert one.history.keys() == other.history.keys()
        for name in one.history:
            np.testing.assert_array_equal(one.history[name], other.history[name], err_msg=name)
    kept = [sorted((f / "checkpoints").glob("*/*/about/metadata")) for f in (a, b)]
    assert [p.parts[-4:] for p in kept[0]][-1] == [p.parts[-4:] for p in kept[1]][-1]
    # The checksums of all weights and states, too.
    assert kept[0][-1].read_text() == kept[1][-1].read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [5])
def test_killed_run_is_resumed(kills, tiny, tmp_path):
    """SIGKILL at random times after a checkpoint, some during the writing of one."""
    path = tiny("num_tasks: 4", "num_tasks: 60")
    code = (
        "import sys; from spectral.studies.runs import _keeper\n"
        "from spectral.studies.command_line._main import main\n"
        "from spectral import _loop\n"
        "_keeper.TIME_FRACTION, _loop._SEGMENT_SECONDS = float('inf'), 0.0\n"
        f"sys.exit(main(['run', {str(path)!r}, '--out', sys.argv[1], *sys.argv[2:]]))"
    )
    begin = lambda folder, *options: subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with begin(tmp_path / "whole") as process:
        assert process.wait() == 0
    out, rng = tmp_path / "out", random.Random(0)
    killed = 0
    for _ in range(kills):
        with begin(out, *(["--resume"] if killed else [])) as process:
            before = set(out.glob("checkpoints/0/*"))
            while process.poll() is None and set(out.glob("checkpoints/0/*")) <= before:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.3)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            killed += 1
    assert killed >= 3
    with begin(out, "--resume") as process:
        _, message = process.communicate()
        assert process.returncode == 0, message
    assert_same_results(tmp_path / "whole", out)
