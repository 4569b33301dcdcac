"""Ensembles over several processes: the numbers of one process, checkpoints that are written once,
and a process that is killed."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import equinox as eqx
import jax
import numpy as np
import pytest
from tables import permuted
from watching import DrawingProbe

from spectral import AbstractMeter, algorithms, Ensemble, train_continual
from spectral.recording import OrbaxCheckpointer


RATES = (0.05, 0.01, 0.02, 0.03)
HEARTBEAT = 10  # seconds


class KillAfter(AbstractMeter):
    """Kills its process after this many tasks."""

    def __init__(self, num_tasks):
        self.num_tasks = num_tasks

    def update(self, done, total, history):
        if done == self.num_tasks:
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder, *, num_members=4, meter=None, model=None, rates=RATES):
    setting = permuted()
    algos = Ensemble.of([algorithms.l2_er(lr, er_period=4) for lr in rates[:num_members]])
    return train_continual(
        setting.model if model is None else model,
        setting.stream,
        algos,
        key=Ensemble(jax.random.split(jax.random.key(3), num_members)),
        probes={"a": DrawingProbe()},
        checkpointer=None if folder is None else OrbaxCheckpointer(folder, keep=None),
        segment_tasks=1,
        meter=meter,
    )


def arrays(learners):
    return [np.asarray(x) for x in jax.tree.leaves(eqx.filter(learners, eqx.is_inexact_array))]


def save(path, learners, history):
    weights = {f"weights {i}": x for i, x in enumerate(arrays(learners))}
    np.savez(path, **weights, **history)


def _work(process, folder, *, kill="", num_members="4"):
    """In one of two processes with two host devices each."""
    assert (len(jax.devices()), len(jax.local_devices())) == (4, 2)
    meter = KillAfter(2) if kill == process else None
    learners, history = train(
        pathlib.Path(folder) / "checkpoints", num_members=int(num_members), meter=meter
    )
    assert learners[3].model is not None  # every process has every member
    save(pathlib.Path(folder) / f"process{process}.npz", learners, history)
    train(None, model=learners)  # what was returned is spread again


def _differ(process, folder):
    train(None, rates=RATES[::-1] if process == "1" else RATES)


def together(folder, work="_work", **options):
    """The exit codes and the outputs of both processes."""
    here = pathlib.Path(__file__)
    settings = {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    settings["PYTHONPATH"] = os.pathsep.join([str(here.parents[1]), *sys.path])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for process in "01":
        # JAX must not have started before, and importing the tables of the tests starts it.
        begin = (
            f"import jax; jax.distributed.initialize('localhost:{port}', 2, {process}, "
            f"heartbeat_timeout_seconds={HEARTBEAT})"
        )
        call = f"{work}({process!r}, {str(folder)!r}, **{options!r})"
        code = f"{begin}; import test_processes; test_processes.{call}"
        program = [sys.executable, "-c", code]
        started.append(
            subprocess.Popen(
                program,
                cwd=here.parent,
                env=os.environ | settings,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=600)[0] for process in started]
    return [process.returncode for process in started], outputs


def assert_same(path, learners, history):
    """Bit for bit."""
    saved = np.load(path)
    for i, own in enumerate(arrays(learners)):
        np.testing.assert_array_equal(own, saved[f"weights {i}"])
    for name, column in history.items():
        np.testing.assert_array_equal(column, saved[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_have_the_numbers_of_one(tmp_path):
    """Both have all results, and one process reads their checkpoints."""
    codes, outputs = together(tmp_path)
    assert codes == [0, 0], outputs
    learners, history = train(None)
    for process in "01":
        assert_same(tmp_path / f"process{process}.npz", learners, history)
    num_tasks = permuted().stream.num_tasks
    checkpointer = OrbaxCheckpointer(tmp_path / "checkpoints", keep=None)
    assert checkpointer.saved == tuple(range(1, num_tasks + 1))
    restored, again = train(tmp_path / "checkpoints")
    for a, b in zip(arrays(restored), arrays(learners), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.keys() == history.keys()
    for name, column in history.items():
        np.testing.assert_array_equal(again[name], column, err_msg=name)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_it_resumes(tmp_path):
    """The other process says so. The next run begins where the last checkpoint is."""
    codes, outputs = together(tmp_path, kill="1")
    assert codes[0] not in (0, None)
    assert codes[1] == -signal.SIGKILL
    message = r"LostProcessError: Process 0 of 2 cannot reach another one.*Start all processes"
    assert re.search(message, outputs[0]), outputs[0]
    assert OrbaxCheckpointer(tmp_path / "checkpoints").saved == (1, 2)
    codes, outputs = together(tmp_path)
    assert codes == [0, 0], outputs
    learners, history = train(None)
    for process in "01":
        assert_same(tmp_path / f"process{process}.npz", learners, history)


@pytest.mark.slow
def test_processes_with_different_arguments(tmp_path):
    codes, outputs = together(tmp_path, "_differ")
    assert 0 not in codes
    for output in outputs:
        assert "The processes of this run have different arguments" in output


@pytest.mark.slow
def test_more_devices_than_members(tmp_path):
    codes, outputs = together(tmp_path, num_members="3")
    assert 0 not in codes
    for output in outputs:
        assert "There are 3 members, but 4 devices in 2 processes" in output


def test_a_device_that_is_not_there():
    """JAX names it, and what there is."""
    with jax.default_device("tpu"), pytest.raises(RuntimeError, match="[Bb]ackend:? '?tpu"):
        train(None)
