"""Trained networks of a run, and runs that are extended to more tasks."""

import functools

import jax
import numpy as np
import pytest
import yaml
from tables import tiny_rows
from tiny_experiment import TINY

from spectral import algorithms, models, studies, tasks, train_continual
from spectral.studies import load_learner, run_experiment, SettingsError
from spectral.studies.command_line._main import main
from spectral.studies.experiment._groups import assemble
from spectral.studies.runs.cluster import _this_process


PROBES = TINY[TINY.index("  dead:") :]


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree) if hasattr(x, "dtype")]


def assert_same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_same_histories(a, b):
    for old, new in zip(a.members, b.members, strict=True):
        assert old.status == new.status == "finished"
        assert old.history.keys() == new.history.keys()
        for name in old.history:
            np.testing.assert_array_equal(old.history[name], new.history[name], err_msg=name)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_an_extended_run(tiny, tmp_path, capsys, monkeypatch):
    """Two tasks extended to four are four at once, with probes, to the bit. Kept checkpoints can be
    loaded before and after."""
    path, long, short = (
        tiny(PROBES, "  dead: {type: DeadUnits, num_examples: 9, every: 2}"),
        tmp_path / "long",
        tmp_path / "short",
    )
    assert main(["run", str(path), "--out", str(long), "--keep-every", "3"]) == 0
    two = ["--set", "stream.num_tasks=2"]
    assert main(["run", str(path), "--out", str(short), "--keep-every", "1", *two]) == 0
    early = load_learner(short, algorithm="bp", seed=1, task=1)
    with monkeypatch.context() as patched:  # an interruption at the first further task
        patched.setattr(_this_process, "train_group", interrupt)
        assert main(["run", str(path), "--out", str(short), "--extend"]) == 130
    assert main(["run", str(path), "--out", str(short), "--resume"]) == 0
    assert_same_histories(studies.load_results(long), studies.load_results(short))
    config = yaml.safe_load((short / "config.yaml").read_text())
    assert config["stream"]["num_tasks"] == 4
    assert config["recorded"]["extended_from"]["num_tasks"] == 2

    # The latest networks are those of the loop, and the kept ones are still there.
    for seed in (0, 1):
        latest = [load_learner(f, algorithm="bp", seed=seed) for f in (long, short)]
        assert_same(*latest)
    assert_same(load_learner(short, algorithm="bp", seed=1, task=1), early)
    third = load_learner(long, algorithm="bp", task=3)
    assert not np.array_equal(*(x.model.layers[0].weight for x in (third, latest[0])))
    given = assemble(studies.load_experiment(path), (("bp", 0), ("bp", 1)))
    learners, _ = train_continual(**given)
    assert_same(learners[1], latest[1])

    for options, message in [
        ({"algorithm": "pb"}, "`algorithm`: Algorithm 'pb' does not exist. Allowed: bp"),
        ({"algorithm": "bp", "seed": 2}, "`seed` is 2, but the run has the seeds 0 to 1"),
        ({"algorithm": "bp", "task": 9}, "`task` is 9, but .* of 'bp' after 1, 2, (3, )?4 tasks"),
    ]:
        with pytest.raises(SettingsError, match=message):
            load_learner(short, **options)
    capsys.readouterr()
    for options, message in [
        (two, "`stream.num_tasks` is 2, but must be above the 4"),
        (["--set", "stream.num_tasks=5", "--seeds", "1"], "cannot be extended: `seeds` was 2"),
        (["--keep-every", "0"], "`keep_every` is 0, but must be"),
    ]:
        assert main(["run", str(path), "--out", str(short), "--extend", *options]) == 2
        assert message in capsys.readouterr().err
    assert main(["run", str(path), "--out", str(tmp_path / "none"), "--extend"]) == 2
    assert "which holds no run to extend" in capsys.readouterr().err


def growing(num_tasks):
    loader = tasks.Loader(epochs=2, minibatch_size=6)
    stream = tasks.GrowingData(tiny_rows("numbers"), num_tasks=num_tasks, loader=loader)
    return studies.experiment_of(
        stream=stream,
        model=functools.partial(models.MLP, 4, 2, width=3, depth=1),
        algorithms={"bp": algorithms.bp(0.05)},
    )


def test_a_stream_whose_tasks_depend_on_their_number(tmp_path, monkeypatch):
    """The programs are compared. Nothing is trained or written."""
    monkeypatch.setattr(_this_process, "train_group", lambda *_: None)
    out = tmp_path / "out"
    run_experiment(growing(2), out)
    before = (out / "config.yaml").read_text()
    with pytest.raises(SettingsError, match="GrowingData whose tasks depend on `num_tasks`"):
        run_experiment(growing(3), out, mode="extend")
    assert (out / "config.yaml").read_text() == before
