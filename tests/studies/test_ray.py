"""Sweeps on a real Ray cluster of several nodes on this machine."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys

import pytest
from real_clusters import (
    assert_same_folders,
    environment,
    LONG,
    start,
    tasks_of,
    trainer_of,
    wait_for,
)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra `cluster` is not installed"
    ),
]

EVERY_TASK = ("--keep-every", "1")  # otherwise short tasks are not saved

# Ray itself raises warnings, so the cluster runs in a process of its own.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

size = {"object_store_memory": 80 * 2**20}
head = {"num_cpus": 0, "include_dashboard": False, **size}
cluster = Cluster(initialize_head=True, head_node_args=head)
for _ in range(int(sys.argv[1])):
    cluster.add_node(num_cpus=1, **size)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def nodes():
    """A function that starts a cluster of a head and nodes of one CPU each. Returns its address."""
    running = []

    def begin(count=2, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER, str(count)],
            env=environment(**options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        return next(line for line in process.stdout if ":" in line).strip()

    yield begin
    for process in running:
        process.communicate(timeout=300)


@pytest.fixture(scope="module")
def address(nodes):
    return nodes()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The file of a sweep, and its folder after training in one process."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "long.yaml").write_text(LONG)
    process = start("sweep", str(folder / "long.yaml"), "--out", str(folder / "out"))
    out, err = process.communicate()
    assert process.returncode == 0, err
    return folder / "long.yaml", folder / "out", out


def test_a_worker_is_killed(local, address, tmp_path):
    """Its group continues from the checkpoint on another worker, and the results are those of one
    process."""
    file, here, table = local
    out = tmp_path / "out"
    ray = [*EVERY_TASK, "--cluster", "ray", "--address", address]
    process = start("sweep", str(file), "--out", str(out), *ray)
    wait_for(out, "er-1", 3)
    first, before = trainer_of(out, 1), tasks_of(out, "er-1")
    os.kill(first, signal.SIGKILL)
    text, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert "spectral sweep: Warning: The worker of er-1, seed 0 was lost" in err
    continued = int(err.partition("Another one continues after ")[2].split()[0])
    assert before <= continued < 20
    assert trainer_of(out, 1) != first
    assert_same_folders(here, out)
    assert text.replace(str(out), "").endswith(table.replace(str(here), ""))  # after Ray's own


def test_the_driver_is_killed(local, address, tmp_path):
    """What was trained is kept, and the same command with --resume trains the rest."""
    file, here, _ = local
    out = tmp_path / "out"
    ray = [*EVERY_TASK, "--cluster", "ray", "--address", address]
    process = start("sweep", str(file), "--out", str(out), *ray)
    wait_for(out, "l2", 3)
    process.kill()
    process.communicate()
    assert 3 <= tasks_of(out, "l2")
    process = start("sweep", str(file), "--out", str(out), *ray, "--resume")
    text, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert_same_folders(here, out)


def test_the_driver_is_terminated(local, address, tmp_path):
    """The status is 143, and the tasks of Ray end."""
    file, _, _ = local
    out = tmp_path / "out"
    ray = [*EVERY_TASK, "--cluster", "ray", "--address", address]
    process = start("sweep", str(file), "--out", str(out), *ray)
    wait_for(out, "l2", 1)
    process.terminate()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "continue the same command with --resume" in err


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "spectral":
            raise ModuleNotFoundError("No module named 'spectral'", name="spectral")

sys.meta_path.insert(0, Absent())
"""
OTHER = """
import importlib.metadata

version = importlib.metadata.version
importlib.metadata.version = lambda name: "0.0.1" if name == "optax" else version(name)
"""


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        (ABSENT, "cannot import the package (ModuleNotFoundError: No module named 'spectral')"),
        (OTHER, "has optax 0.0.1, but this process has"),
    ],
)
def test_workers_that_cannot_train(local, nodes, tmp_path, custom, message):
    file, _, _ = local
    (tmp_path / "sitecustomize.py").write_text(custom)
    address = nodes(1, first=str(tmp_path))
    out = tmp_path / "out"
    process = start("sweep", str(file), "--out", str(out), "--cluster", "ray", "--address", address)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 2
    assert message in err
    assert "What was trained is kept: continue with --resume." in err


def test_an_address_of_something_else(local, tmp_path):
    """A port that is open, and where no Ray cluster answers."""
    file, _, _ = local
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        out = tmp_path / "out"
        process = start(
            "sweep", str(file), "--out", str(out), "--cluster", "ray", "--address", address
        )
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"`address` is '{address}', but no Ray cluster answers there" in err
    assert not out.exists()
