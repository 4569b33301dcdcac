"""The overhead of a sweep on a Ray cluster over the same sweep in one process, on the same cores.

    python benchmarks/cluster.py [--groups 40] [--seconds 20] [--cores 1] [--rounds 3]
    python benchmarks/cluster.py --groups 8 --seconds 5 --rounds 1

The cells of the sweep differ in the period of effective-rank steps, so each is a program. First one
cell is timed, and the number of tasks is chosen so that a cell takes about `--seconds`. Then the
command `spectral sweep` runs to its end, locally and on a Ray cluster, in turns. All
processes are bound to the same `--cores`. The cluster is running before, as clusters are. The
script compares the histories, and prints for both the seconds on the clock and the CPU seconds of
all processes. On a machine that does other work only the latter can be compared. Needs the extra
`cluster`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence


SWEEP = """
seeds: 1
stream:
  type: PermutedImages
  images: {{type: load_images, name: digits}}
  num_tasks: {num_tasks}
  steps_per_task: 5040
  num_evaluation_examples: 200
model: {{type: MLP, width: 50, depth: 3}}
algorithms:
  er: {{type: er, lr: 1e-2, er_lr: 1e-3, er_period: {{grid: {periods}}}}}
score: {{measure: accuracy, over: all}}
"""
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

head = {"num_cpus": int(sys.argv[1]), "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
_MARK = "SPECTRAL_BENCHMARK"


class CPUSeconds:
    """The CPU seconds of all processes with one mark in their environment, while a block runs."""

    def __init__(self, mark: str):
        self._mark = f"{_MARK}={mark}".encode()
        self._seconds: dict[int, float] = {}
        self._before = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "CPUSeconds":
        self._look()
        self._before = sum(self._seconds.values())
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    @property
    def total(self) -> float:
        return sum(self._seconds.values()) - self._before

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self._look()

    def _look(self) -> None:
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if self._mark not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            ticks = int(fields[11]) + int(fields[12])
            self._seconds[int(folder.name)] = ticks / os.sysconf("SC_CLK_TCK")


def periods(count: int) -> list[int]:
    """Different periods that fit a task, the longest first, because they are the fastest."""
    known = [n for n in range(5040, 0, -1) if 5040 % n == 0]
    assert count <= len(known), f"`--groups` must be at most {len(known)}"
    return known[:count]


def sweep(file: pathlib.Path, out: pathlib.Path, *options: str) -> dict[str, float]:
    """Run the command. Returns its seconds on the clock and the CPU seconds of all processes."""
    command = [sys.executable, "-m", "spectral", "sweep", str(file), "--out", str(out), *options]
    with CPUSeconds(os.environ[_MARK]) as cpu:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        clock = time.perf_counter() - began
    return {"clock": clock, "cpu": cpu.total}


def train_seconds(folder: pathlib.Path) -> float:
    """The seconds that training took, summed over the cells, with compilation."""
    found = [json.loads(path.read_text())["seconds"] for path in folder.glob("*/*/status.json")]
    return sum(found)


def same(folders: Sequence[pathlib.Path]) -> bool:
    """Whether all folders have the same histories, byte for byte."""
    contents = [
        {p.relative_to(f): p.read_bytes() for p in f.glob("*/*/history.npz")} for f in folders
    ]
    return all(content == contents[0] for content in contents)


def measure(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    file, steps = folder / "sweep.yaml", arguments.tasks
    if steps is None:
        file.write_text(SWEEP.format(num_tasks=20, periods=periods(1)))
        sweep(file, folder / "trial")
        per_task = train_seconds(folder / "trial") / 20
        steps = max(2, round(arguments.seconds / per_task))
        print(f"a task takes {per_task:.3f} s, so a cell has {steps} tasks", flush=True)
    file.write_text(SWEEP.format(num_tasks=steps, periods=periods(arguments.groups)))
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(arguments.cores)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert cluster.stdout is not None
    address = next(line for line in cluster.stdout if ":" in line).strip()
    ray = ("--cluster", "ray", "--address", address, "--cpus", str(arguments.cores))
    found: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
    try:
        for i in range(arguments.rounds):
            for name, options in (("local", ()), ("ray", ray)):
                out = folder / f"{name}-{i}"
                found[name].append(sweep(file, out, *options))
                print(name, found[name][-1], f"training {train_seconds(out):.1f} s", flush=True)
    finally:
        cluster.communicate()
    medians = {
        name: {what: statistics.median(one[what] for one in rounds) for what in rounds[0]}
        for name, rounds in found.items()
    }
    folders = [folder / f"{name}-{i}" for name in found for i in range(arguments.rounds)]
    print(f"the same histories: {same(folders)}")
    for what in ("clock", "cpu"):
        overhead = medians["ray"][what] / medians["local"][what] - 1
        print(
            f"{what}: local {medians['local'][what]:.1f} s, Ray {medians['ray'][what]:.1f} s, "
            f"overhead {overhead:.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="The overhead of a sweep on a Ray cluster")
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a group")
    parser.add_argument("--tasks", type=int, help="of a group, in place of --seconds")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    os.environ |= {_MARK: uuid.uuid4().hex, "RAY_worker_niceness": "0"}
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, pathlib.Path(folder))


if __name__ == "__main__":
    main()
