"""Checkpoints on disk: what they restore, and what happens if they are damaged or foreign."""

import gc
import os
import pathlib
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import algorithms, History, Learner
from spectral._core import Run
from spectral._divergence import Divergence
from spectral.algorithms import AlgorithmState
from spectral.recording import OrbaxCheckpointer


# Reading a damaged file fails in one thread of the storage library while others still run. Those
# then raise an error of their own, at any time.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CONFIG = {"algorithm": algorithms.bp(0.1), "name": "a"}


class Stream(eqx.Module):
    num_tasks: int = eqx.field(static=True)


def state(done: int) -> Run:
    """A state after `done` tasks, with a key, a function, and an array without entries, as in the
    states of some physics engines."""
    weights = np.random.default_rng(done).normal(size=(20, 30)).astype(np.float32)
    model = {"weights": jnp.asarray(weights), "activation": jnp.tanh}
    stream = {"empty": jnp.asarray(np.zeros((0, 3), np.float32)), "key": jax.random.key(done)}
    learner = Learner(model, None, algorithms.bp().optimiser)
    return Run(learner, AlgorithmState((), ()), stream, Divergence.none())


def history(done: int) -> History:
    return History({"loss": np.arange(2.0 * done).reshape(done, 2), "accuracy": np.ones(done)})


def save(folder: pathlib.Path, *tasks: int, config=CONFIG) -> None:
    checkpointer = OrbaxCheckpointer(folder)
    for done in tasks:
        checkpointer.save(config, done, state(done), history(done))


def assert_restored(restored, done: int) -> None:
    """The state, bit for bit, and the history after `done` tasks."""
    assert restored is not None
    tasks, run, columns = restored
    assert tasks == done
    assert eqx.tree_equal(run, state(done))
    assert dict(columns).keys() == dict(history(done)).keys()
    for name, column in history(done).items():
        np.testing.assert_array_equal(columns[name], column)


def truncate(step: pathlib.Path) -> None:
    largest = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def empty_the_description(step: pathlib.Path) -> None:
    (about,) = [p for p in (step / "about").iterdir() if p.name == "metadata"]
    about.write_text("{")


def test_newest_state_is_restored(tmp_path):
    """From a folder that holds the last two."""
    assert OrbaxCheckpointer(tmp_path / "none").restore(CONFIG, state(0)) is None
    save(tmp_path, 1, 2, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
    assert_restored(OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0)), 3)


def test_a_run_of_more_tasks(tmp_path):
    """It continues if `extend` says so and nothing else differs. All states are kept."""
    config = lambda num_tasks, name="a": CONFIG | {"stream": Stream(num_tasks), "name": name}
    checkpointer = OrbaxCheckpointer(tmp_path, keep=None)
    for done in (1, 2, 3):
        checkpointer.save(config(3), done, state(done), history(done))
    assert checkpointer.saved == (1, 2, 3)
    assert_restored(checkpointer.read_after(1, config(3), state(0)), 1)
    with pytest.raises(ValueError, match="`stream.num_tasks` was 3, is now 4"):
        checkpointer.read(config(4), state(0))
    extending = OrbaxCheckpointer(tmp_path, extend=True)
    assert_restored(extending.read(config(4), state(0)), 3)
    with pytest.raises(ValueError, match="`name` was 'a', is now 'b'"):
        extending.read(config(4, "b"), state(0))
    truncate(tmp_path / "2")
    with pytest.raises(ValueError, match="checkpoint of task 2 in .* is damaged"):
        extending.read_after(2, config(4), state(0))


@pytest.mark.parametrize(
    "damage", [truncate, pytest.param(empty_the_description, marks=pytest.mark.slow)]
)
def test_damaged_checkpoint_is_rejected(damage, tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path / "2")
    with pytest.warns(
        UserWarning, match=r"task 2 in .* is damaged: .*\. The one of task 1 is used"
    ):
        assert_restored(OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0)), 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "rejected-2"]
    save(tmp_path, 2)
    for step in ("1", "2"):
        damage(tmp_path / step)
    checkpointer = OrbaxCheckpointer(tmp_path)
    with pytest.raises(ValueError, match=r"No checkpoint .*task 2 is damaged.*task 1 is damaged"):
        checkpointer.restore(CONFIG, state(0))


def test_checksums_detect_changed_values(tmp_path):
    save(tmp_path, 1, 2)
    shutil.rmtree(tmp_path / "2" / "arrays")
    shutil.copytree(tmp_path / "1" / "arrays", tmp_path / "2" / "arrays")
    with pytest.warns(UserWarning, match="task 2 in .* arrays do not have the saved checksums"):
        assert_restored(OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0)), 1)


def test_renamed_checkpoint_is_rejected(tmp_path, capfd):
    """The number of tasks is that of the description, not that of the folder. Nothing else is
    printed than the warning."""
    save(tmp_path, 1, 2)
    (tmp_path / "2").rename(tmp_path / "3")
    with pytest.warns(UserWarning, match="task 3 in .* was saved after 2 tasks, under another nam"):
        assert_restored(OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0)), 1)
    (tmp_path / "rejected-3").rename(tmp_path / "2")
    about = tmp_path / "2" / "about" / "metadata"
    about.write_text(about.read_text().replace('"accuracy"', '"accurbcy"'))
    with pytest.warns(UserWarning, match="its description does not have a right checksum"):
        assert_restored(OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0)), 1)
    save(tmp_path, 4)
    truncate(tmp_path / "4")
    with pytest.warns(UserWarning, match="task 4 in .* is damaged"):
        OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0))
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_checkpoint_of_another_run_is_rejected(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, config=CONFIG | {"algorithm": algorithms.bp(0.2)})
    with pytest.warns(
        UserWarning, match="task 2 in .* another configuration: `algorithm.optimiser"
    ):
        assert_restored(OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0)), 1)
    (tmp_path / "rejected-2").rename(tmp_path / "2")
    (tmp_path / "rejected-2").mkdir()
    with pytest.warns(UserWarning, match="another configuration"):
        OrbaxCheckpointer(tmp_path).restore(CONFIG, state(0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "rejected-2", "rejected-21"]


def test_read_does_not_change_the_folder(tmp_path):
    """Not even damaged checkpoints and those that another process is writing."""
    save(tmp_path, 1, 2)
    truncate(tmp_path / "2")
    unfinished = tmp_path / "3.orbax-checkpoint-tmp-1" / "arrays"
    unfinished.mkdir(parents=True)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    with pytest.warns(UserWarning, match=r"task 2 in .* The one of task 1 is used"):
        assert_restored(OrbaxCheckpointer(tmp_path).read(CONFIG, state(0)), 1)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
