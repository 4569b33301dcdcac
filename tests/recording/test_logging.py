"""Loggers: event files of TensorBoard, runs of Weights & Biases."""

import importlib
import pathlib
import struct
import types
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from spectral import History
from spectral.recording import Meters, TensorBoard, WeightsAndBiases


EVENT: Any = vars(event_pb2)["Event"]
NAMES = (("bp", 0), ("bp", 1))


def history(tasks: int) -> History:
    """A history of two members, of which the second diverges in task 1."""
    accuracy = np.arange(2.0 * tasks).reshape(tasks, 2)
    accuracy[1:, 1] = np.nan
    columns = {
        "test_accuracy": accuracy,
        "loss": np.stack([accuracy, accuracy + 1], axis=2),
        "hessian.start.normalised_epsilon_rank": np.where(np.arange(tasks) % 2, np.nan, 0.5)[
            :, None
        ]
        * np.ones(2),
        # In the second rollout no episode ended.
        "episode_return": np.stack([accuracy, accuracy * np.nan], axis=2),
        "diverged_step": np.where(np.isnan(accuracy), 7.0, np.nan),
        "hessian.start.nodes": np.ones((tasks, 2, 1, 4)),
    }
    return History(columns)


def events(folder: pathlib.Path) -> dict[tuple[str, int], float]:
    """The numbers in the one event file of a folder."""
    (path,) = folder.glob("events.*")
    data, found = path.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = EVENT.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            assert (value.tag, event.step) not in found
            found[value.tag, event.step] = value.simple_value
        data = data[12 + length + 4 :]
    return found


EXPECTED = {
    ("test_accuracy", 0): 0.0,
    ("test_accuracy", 1): 2.0,
    ("test_accuracy", 2): 4.0,
    ("loss", 0): 0.5,
    ("loss", 1): 2.5,
    ("loss", 2): 4.5,
    ("episode_return", 0): 0.0,
    ("episode_return", 1): 2.0,
    ("episode_return", 2): 4.0,
    ("hessian/start/normalised_epsilon_rank", 0): 0.5,
    ("hessian/start/normalised_epsilon_rank", 2): 0.5,
}


def test_event_files(tmp_path):
    meter = Meters((TensorBoard(tmp_path, names=NAMES),))
    for done in range(4):
        meter.update(done, 3, history(done))
    assert events(tmp_path / "events" / "bp" / "seed_0") == EXPECTED
    second = events(tmp_path / "events" / "bp" / "seed_1")
    assert {step for tag, step in second if tag == "test_accuracy"} == {0}


def test_resumed_run_writes_all_tasks_again(tmp_path):
    """Without a gap, with nothing twice, and all of it before `update` returns."""
    alone = lambda n: History({k: c[:, 0] for k, c in history(n).items()})
    killed = TensorBoard(tmp_path)
    killed.update(0, 3, alone(0))
    killed.update(1, 3, alone(1))
    assert events(tmp_path / "events") == {k: v for k, v in EXPECTED.items() if k[1] == 0}
    mine = tmp_path / "events" / "notes.txt"
    mine.write_text("mine")
    meter = TensorBoard(tmp_path)
    meter.update(2, 3, alone(2))
    meter.update(3, 3, alone(3))
    assert events(tmp_path / "events") == EXPECTED
    assert mine.exists()


def test_every_step_is_written_when_update_returns(tmp_path):
    meter = TensorBoard(tmp_path)
    meter.update(300, 301, History({"loss": np.arange(300.0)}))
    assert len(events(tmp_path / "events")) == 300


def test_weights_and_biases_calls(tmp_path, monkeypatch):
    """A fake package records the calls."""
    logged, begun, finished, taken = [], [], [], {}

    class Run:
        def __init__(self, about):
            begun.append(about)
            self.name = about["name"]
            self.id = about.get("id", f"id of {self.name}")
            self.starting_step = taken.get(self.id, 0) if about.get("resume") == "allow" else 0

        def log(self, values, step):
            logged.append((self.name, step, values))

        def finish(self):
            finished.append(self.name)

    package = types.SimpleNamespace(init=lambda **about: Run(about))
    monkeypatch.setattr(importlib, "import_module", lambda name: package)
    meter = WeightsAndBiases(tmp_path / "mine", names=NAMES)
    for done in range(4):
        meter.update(done, 3, history(done))
    assert [a["config"] for a in begun] == [{"algorithm": n, "seed": s} for n, s in NAMES]
    assert {a["group"] for a in begun} == {"mine"}
    assert finished == ["bp-0", "bp-1"]
    own = {(k.replace(".", "/"), t): v for n, t, d in logged if n == "bp-0" for k, v in d.items()}
    assert own == EXPECTED

    # Resumed after the steps 0 and 1, of which the checkpoint has the first.
    taken |= {"id of bp-0": 2, "id of bp-1": 1}
    logged.clear()
    begun.clear()
    meter = WeightsAndBiases(tmp_path / "mine", names=NAMES)
    meter.update(1, 3, history(1))
    meter.update(3, 3, history(3))
    assert [a["id"] for a in begun] == ["id of bp-0", "id of bp-1"]
    assert [(name, step) for name, step, _ in logged] == [("bp-0", 2), ("bp-1", 1), ("bp-1", 2)]
    begun.clear()
    WeightsAndBiases(tmp_path / "mine", names=NAMES).update(0, 3, history(0))
    assert "id" not in begun[0]  # a new run, not the continuation of one


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    meter = WeightsAndBiases(tmp_path, names=NAMES)
    for done in range(4):
        meter.update(done, 3, history(done))
    assert len(list(tmp_path.glob("events/wandb/offline-run-*"))) == 2


def test_weights_and_biases_must_be_installed(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spectral-plasticity\[wandb\]'"):
        WeightsAndBiases(tmp_path)
