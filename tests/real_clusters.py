"""Processes of the tests on real clusters: the command line, and waiting for what they write."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np


ROOT = pathlib.Path(__file__).parents[1]

# Training that takes seconds, so that it can be interrupted. Each cell is a group.
LONG = """
seeds: 1
stream:
  type: PermutedImages
  images: {type: load_images, name: digits}
  num_tasks: 20
  steps_per_task: 1000
  num_evaluation_examples: 50
model: {type: MLP, width: 4, depth: 1}
algorithms:
  l2: {type: l2, lr: 1e-2}
  er: {type: er, lr: 1e-2, er_lr: 1e-3, er_period: {grid: [50, 100]}}
score: {measure: accuracy, over: all}
"""


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports this package and keeps compiled programs."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    cache |= {"RAY_worker_niceness": "0"}  # else they wait for all other work of the machine
    paths = os.pathsep.join(filter(None, (more.pop("first", ""), str(ROOT))))
    return {**os.environ, **cache, "PYTHONPATH": paths, **more}


def start(*arguments: str) -> "subprocess.Popen[str]":
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "spectral", *arguments],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tasks_of(folder: pathlib.Path, cell: str) -> int:
    """How many tasks of a cell have been saved."""
    try:
        return json.loads((folder / cell / "seed_0" / "status.json").read_text())["tasks"]
    except FileNotFoundError:
        return 0


def wait_for(folder: pathlib.Path, cell: str, tasks: int) -> None:
    """Wait until so many tasks of a cell have been saved, but not all."""
    deadline = time.monotonic() + 600
    while tasks_of(folder, cell) < tasks:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert tasks_of(folder, cell) < 20


def trainer_of(folder: pathlib.Path, index: int) -> int:
    """The process that trains a group."""
    return int((folder / "cluster" / f"{index}.lock").read_text().split()[1])


def assert_same_folders(one: pathlib.Path, other: pathlib.Path) -> None:
    """Two run folders have the same histories."""
    found = [sorted(p.relative_to(f) for p in f.glob("*/*/history.npz")) for f in (one, other)]
    assert found[0] == found[1]
    assert found[0]
    for path in found[0]:
        columns = [dict(np.load(folder / path)) for folder in (one, other)]
        assert columns[0].keys() == columns[1].keys()
        for name, values in columns[0].items():
            np.testing.assert_array_equal(values, columns[1][name], err_msg=f"{path}: {name}")
