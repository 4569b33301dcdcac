"""What a run will take is predicted before it is begun, and nothing is written."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, models, studies, tasks, train_continual
from spectral._core import begin_task, start_run
from spectral.studies.command_line._main import main
from spectral.studies.experiment._groups import assemble, groups
from spectral.studies.runs._folder import MARKER
from spectral.studies.runs.planning import _dry_run
from spectral.studies.runs.planning._group import array_bytes
from spectral.studies.runs.planning._parts import minibatches_in_use, some_steps
from spectral.studies.runs.planning._timing import seconds_of_task
from spectral.studies.runs.protection._lock import sole_writer


GROUP = studies.GroupPlan("bp, 2 seeds", 2, 4, 160, 5, 30.0, 600.0, 90.0, 2_000_000)


@pytest.fixture
def planned(monkeypatch):
    """Nothing is compiled: each group takes what `GROUP` says, with the tasks that are left."""

    class Planned:
        def __init__(self, experiment, group, programs):
            self.names, self.num_tasks = group.names, experiment.stream.num_tasks

        def plan(self, *, done):
            return dataclasses.replace(GROUP, members=len(self.names), tasks=self.num_tasks - done)

    monkeypatch.setattr(_dry_run, "Planned", Planned)


@pytest.mark.parametrize(
    ("chunks", "minibatches"), [(1, 1), (1, 5000), (7, 9), (4000, 3), (3, 900)]
)
def test_a_task_is_timed_by_a_part_of_it(chunks, minibatches):
    calls = []

    def clock(c, s):
        calls.append((c, s))
        return 0.002 + c * (0.003 + 0.004 * s)

    found = seconds_of_task(clock, chunks, minibatches, enough=0.5)
    exact = chunks * (0.003 + 0.004 * minibatches)
    # The call itself counts once, or once for each chunk that is not timed whole.
    assert exact <= found <= exact + 0.0021 * chunks
    assert max(clock(*call) for call in list(calls)) < 1.1  # a doubling ends soon after `enough`


def test_a_first_call_may_be_the_slowest():
    """As on a busy machine. The prediction is then no less than what was measured."""
    seconds = iter([0.1, 0.5, 0.3])
    assert seconds_of_task(lambda c, s: next(seconds), 1, 100, enough=0.15) == 0.3


def test_table():
    plan = studies.Plan(
        (GROUP, dataclasses.replace(GROUP, label="cbp, 2 seeds", bytes=3_000_000_000)),
        data_bytes=47_000_000,
        process_bytes=500_000_000,
        free_bytes=None,
    )
    assert (plan.steps, plan.programs, plan.seconds) == (320, 10, 1440.0)
    assert plan.peak_bytes == 3_547_000_000
    text = studies.plan_table(plan)
    assert "bp, 2 seeds   2        4      160    5         30 s     10 min  1.5 min  2 MB" in text
    assert "320 steps and 10 programs in 24 min." in text
    assert "3.55 GB of memory at the peak: 500 MB for the process, 47 MB for the data" in text
    assert "are free" not in text
    known = dataclasses.replace(plan, free_bytes=12_000_000_000)
    assert "; 12 GB are free." in studies.plan_table(known)
    empty = dataclasses.replace(plan, groups=())
    assert "nothing is left to train" in studies.plan_table(empty)


def test_the_command_writes_nothing(plain, tmp_path, untraced, planned, capsys):
    out = tmp_path / "new" / "out"
    assert main(["run", str(plain), "--dry-run", "--json", "--out", str(out)]) == 0
    *text, last = capsys.readouterr().out.splitlines()
    assert text[0].split() == "members tasks steps programs compile train probes memory".split()
    assert "Nothing was written" in text[-1]
    assert json.loads(last)["groups"][0]["members"] == 2
    assert json.loads(last)["data_bytes"] > 1797 * 64
    assert not out.parent.exists()


def test_a_sweep(plain, tmp_path, untraced, planned, capsys):
    grid = ["--set", "algorithms.bp.lr={grid: [1e-2, 1e-3, 1e-4]}", "--out", str(tmp_path / "out")]
    assert main(["sweep", str(plain), "--dry-run", *grid]) == 0
    assert "160" in capsys.readouterr().out
    wrong = ["--set", "score={measure: unknown}"]
    assert main(["sweep", str(plain), "--dry-run", *grid, *wrong]) == 2
    assert "unknown" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_run_would_reject_is_rejected(plain, tmp_path, untraced, planned, capsys):
    out, dry = tmp_path / "out", ["run", str(plain), "--dry-run", "--out", str(tmp_path / "out")]
    rejected = {"--at-most=0": "`at_most` is 0", "--extend": "holds no run to extend"}
    for option, reason in rejected.items():
        assert main([*dry, option]) == 2
        assert reason in capsys.readouterr().err
    out.write_text("")
    assert main(dry) == 2
    assert "is a file" in capsys.readouterr().err
    out.unlink()
    out.mkdir()
    (out / "mine.txt").write_text("")
    assert main(dry) == 2
    assert "holds files that were not written by a run" in capsys.readouterr().err
    (out / "mine.txt").unlink()
    (out / MARKER).touch()
    assert main(dry) == 2
    assert "holds a run already" in capsys.readouterr().err
    with sole_writer(out / MARKER):
        assert main([*dry, "--overwrite"]) == 2
    assert "is being written to by another process" in capsys.readouterr().err
    assert main([*dry, "--overwrite"]) == 0
    assert [path.name for path in out.iterdir()] == [MARKER]


@pytest.mark.slow
def test_what_is_counted(tiny, tmp_path):
    """Two algorithms with equal optimisers share the programs of their probes."""
    other = "  l2: {type: l2, lr: 1e-2}\nprobes:"
    experiment = studies.load_experiment(tiny("probes:", other))
    plan = studies.dry_run(experiment, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [group.label for group in plan.groups] == ["bp, 2 seeds", "l2, 2 seeds"]
    # start, begin, segment and two probes; then three programs of L2.
    assert [group.programs for group in plan.groups] == [5, 3]
    assert [group.steps for group in plan.groups] == [2 * 4 * 20] * 2
    images = tasks.load_images("digits")
    assert plan.data_bytes >= images.train_images.nbytes + images.test_images.nbytes
    model = 2 * array_bytes(experiment.member(0)[0])
    assert all(group.bytes > 2 * model for group in plan.groups)
    assert plan.free_bytes is None or plan.peak_bytes < plan.free_bytes
    for group in plan.groups:
        assert group.compile_seconds > 0.1
        assert 0 < group.train_seconds < 10
        assert 0 < group.probe_seconds < 10
    # The second group measures nothing again that the first has measured.
    assert plan.groups[1].probe_seconds == plan.groups[0].probe_seconds


@pytest.mark.slow
def test_the_timed_part_is_the_training_of_the_loop(plain):
    """After all steps of the first task it has the weights of the loop."""
    experiment = studies.load_experiment(plain, seeds=1, assignments=["stream.num_tasks=1"])
    (group,) = groups(experiment)
    given = assemble(experiment, group.names)
    learner, _ = train_continual(**given)
    stream, algo, key = experiment.stream, experiment.algorithms["bp"], given["key"][0]
    run = begin_task(
        start_run(given["model"][0], None, stream, algo, key), stream, algo, jnp.asarray(0), key
    )
    chunks, steps = jnp.asarray(stream.chunks_per_task), jnp.asarray(stream.minibatches)
    ended, total = some_steps(run, stream, algo, chunks, steps, key)
    assert float(total) > 0
    for ours, theirs in zip(
        jax.tree.leaves(ended.learner.model), jax.tree.leaves(learner[0].model), strict=True
    ):
        assert jnp.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_steps_of_tasks_that_grow():
    """Each task of this stream adds two classes, and an epoch visits all rows of those seen."""
    images, loader = tasks.load_images("digits"), tasks.Loader(minibatch_size=20, flat=True)
    stream = tasks.IncrementalClasses(
        images, classes_per_task=2, order=tuple(range(10)), loader=loader
    )
    labels = np.asarray(images.train_labels)
    seen = [int(np.sum(labels < 2 * (task + 1))) for task in range(5)]
    model = models.MLP(64, 10, width=4, depth=1, key=jax.random.key(0))
    run = start_run(model, None, stream, algorithms.bp(), jax.random.key(1))
    used = minibatches_in_use(run, stream, jax.random.key(1))
    assert used.tolist() == [count // 20 for count in seen]
