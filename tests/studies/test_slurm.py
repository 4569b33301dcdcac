"""Sweeps through submitit, with its local executor in the place of Slurm."""

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from real_clusters import assert_same_folders, environment, LONG, trainer_of, wait_for

from spectral.studies import load_experiment, SettingsError, SlurmCluster
from spectral.studies.runs.protection._clear import clear


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("submitit") is None, reason="the extra `cluster` is not installed"
    ),
]

RUN = """
import sys
from spectral import studies

file, folder, mode, local = sys.argv[1:]
cluster = studies.SlurmCluster(local=True, minutes=10) if local == "jobs" else studies.ThisProcess()
studies.run_sweep(studies.load_sweep(file), folder, mode=mode, cluster=cluster, keep_every=1)
"""


def start(file: pathlib.Path, folder: pathlib.Path, mode: str, where: str):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(file), str(folder), mode, where],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def test_jobs_that_end_early(tmp_path):
    """One job is killed, one gets the signal of a time limit, and then the process that started
    them is killed. Its jobs continue, and the next process waits for them. The results are those
    of one process."""
    file, here, out = tmp_path / "long.yaml", tmp_path / "here", tmp_path / "out"
    file.write_text(LONG)
    process = start(file, here, "new", "here")
    _, err = process.communicate()
    assert process.returncode == 0, err
    process = start(file, out, "new", "jobs")
    wait_for(out, "l2", 2)
    os.kill(trainer_of(out, 0), signal.SIGKILL)
    wait_for(out, "er-1", 2)
    os.kill(trainer_of(out, 1), signal.SIGUSR2)
    wait_for(out, "er-2", 2)
    paused = trainer_of(out, 2)
    os.kill(paused, signal.SIGSTOP)
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()  # its jobs hold the other end
    process = start(file, out, "resume", "jobs")
    assert process.stderr is not None
    told = next((line for line in process.stderr if "is still trained by another" in line), None)
    os.kill(paused, signal.SIGCONT)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert told is not None
    assert_same_folders(here, out)
    logs = [path.read_text() for path in (out / "cluster" / "jobs").glob("*.out")]
    assert len(logs) >= 3
    clear(out, set())
    assert not (out / "cluster").exists()


def test_options_and_machines_without_slurm(plain, untraced, monkeypatch):
    monkeypatch.setenv("PATH", "")
    experiment = load_experiment(plain)
    with pytest.raises(SettingsError, match="this machine has no command sbatch"):
        with SlurmCluster().open(experiment, ()):
            pass
    with pytest.raises(SettingsError, match="Option 'patrition' does not exist.*'partition'"):
        with SlurmCluster(local=True, options={"patrition": "gpu"}).open(experiment, ()):
            pass
