"""Faults of the disk: two processes on one folder, a full disk, a folder that is deleted."""

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

import jax
import numpy as np
import pytest

from spectral import (
    _loop,
    AbstractMeter,
    studies,
)
from spectral.studies.command_line._main import main
from spectral.studies.runs import _keeper
from spectral.studies.runs._folder import MARKER
from spectral.studies.runs.cluster import _train_group
from spectral.studies.runs.protection._lock import sole_writer


@pytest.fixture
def run(plain, tmp_path, monkeypatch):
    """A function that runs a tiny experiment into `out`, with a checkpoint after every task."""
    monkeypatch.setattr(_keeper, "TIME_FRACTION", np.inf)
    monkeypatch.setattr(_loop, "_SEGMENT_SECONDS", 0.0)
    return lambda *options: main(["run", str(plain), "--out", str(tmp_path / "out"), *options])


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
        monkeypatch.setattr(_train_group, "ProgressBar", Acting)

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
@pytest.mark.filterwarnings("default")
def test_landscapes_of_a_run(run, tmp_path, capsys):
    wild = "algorithms={bp: {type: bp, lr: 1e-2}, wild: {type: bp, lr: 1e30}}"
    assert run("--set", wild) == 1
    capsys.readouterr()
    out = str(tmp_path / "out")
    assert main(["landscape", out, "--seed", "1", "--num-examples", "50"]) == 0
    printed = capsys.readouterr()
    warned = r"Warning: .*loss of wild, seed 1, is not finite at any point.*left out.*\n"
    assert re.fullmatch(f"spectral landscape: {warned}", printed.err)
    drawn = [pathlib.Path(line).name for line in printed.out.splitlines()]
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
def test_a_run_that_is_killed_while_its_replay_fills_is_resumed(tmp_path):
    """SIGKILL right after the checkpoint of the second of four tasks, when 64 of the 80 places of
    the replay are filled; later tasks overwrite the oldest. The same process has trained the whole
    run before, because each further process compiles again."""
    path, tests = tmp_path / "dqn.yaml", pathlib.Path(__file__).parents[1]
    path.write_text(REPLAY)
    whole, out = tmp_path / "whole", tmp_path / "out"
    run = lambda folder, *options: ["run", str(path), "--out", str(folder), *options]
    code = (
        "import os, signal; from spectral.studies.runs import _keeper\n"
        "from spectral.studies.command_line._main import main\n"
        "from spectral import _loop\n"
        "_keeper.TIME_FRACTION, _loop._SEGMENT_SECONDS = float('inf'), 0.0\n"
        f"assert main({run(whole)}) == 0\n"
        "save, sizes = _keeper.Keeper.save, []\n"
        "def killed(self, config, done, run, history):\n"
        "    save(self, config, done, run, history)\n"
        "    sizes.append(int(run.stacked.stream.replay.size[0]))\n"
        "    if done == 2:\n"
        "        print(sizes, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "_keeper.Keeper.save = killed\n"
        f"main({run(out)})"
    )
    folders = [str(tests), os.environ.get("PYTHONPATH", "")]
    own = {
        "PYTHONPATH": os.pathsep.join(folders),
        "JAX_COMPILATION_CACHE_DIR": str(tests.parent / ".cache" / "jax"),
    }
    process = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert "[32, 64]" in process.stdout
    assert main(run(out, "--resume")) == 0
    assert_same_results(whole, out)


REPLAY = """
stream:
  type: DQN
  world:
    type: ChangingEnvironment
    environment: {type: "switching:Switching"}
    schedule: {type: Cycle, each: [0.5, 1.5]}
    steps_per_task: 32
  num_tasks: 4
  capacity: 80
  minibatch_size: 4
  learning_starts: 4
  steps_per_rollout: 8
  replay_ratio: 0.5
  num_environments: 2
  target_update: {type: PeriodicTarget, period: 8}
  exploration: {type: LinearEpsilon, last: 0.2, steps: 40}
  num_evaluation_environments: 1
  evaluation_steps: 5
model: {type: MLP, width: 4, depth: 1, layer_norm: true}
algorithms:
  bp: {type: bp, lr: {type: adam, lr: 0.01}}
"""


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
