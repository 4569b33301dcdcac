"""Every script of this folder, with one table of all times beside those of the peers.

    make bench                       # meant to take an hour on two idle cores
    make bench-quick                 # meant to take ten minutes
    make bench-compare OLD=FILE NEW=FILE

    python benchmarks/bench.py [--quick] [--small] [--only training curvature ...] [--out FOLDER]

Each script that times cases runs in a process of its own, with the peers in the same process and in
turn. One thread of OpenBLAS decomposes matrices, because with two its time is a matter of luck;
matrix products of JAX and PyTorch use their own threads. Medians are of seven rounds, and of three
for densities at P = 2.8 M. An interval is for the median of the ratios of the rounds.

The other scripts are studies of correctness, statistics or cost without a peer. They run in a short
form, which shows that they work: their numbers are in the documentation, with the commands.

Writes FOLDER/DATE-COMMIT.json, and the table as .txt beside it, and the output of all scripts as
.log; FOLDER is runs/bench by default.
"""

import argparse
import dataclasses
import datetime
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from timing.record import circumstances, load, save
from timing.report import table
from timing.runner import Measured


HERE = pathlib.Path(__file__).parent
# By script: the arguments for its cases.
TIMED = {
    "training": [],
    "curvature": ["speed"],
    "networks": [],
    "transformers": [],
    "reinforcement": [],
}
# By script: the arguments of its short form.
STUDIES = {
    "algorithms": ["--small"],
    "attention": ["factors"],
    "cluster": ["--groups", "2", "--tasks", "2", "--rounds", "1"],
    "collapse": ["--series", "20"],
    "cost_model": ["--small"],
    "curvature": ["memory", "accuracy", "--small"],
    "diagnostics": ["--small"],
    "forecast": ["--small"],
    "gpu": ["--small"],
    "lanczos_memory": ["cheap", "--size", "1e6"],
    "networks": ["--check"],
    "persistence": ["--small"],
    "predictors": ["--num-simulations", "5"],
    "rank_intervals": ["--orders", "10", "--num-vectors", "3"],
    "reinforcement": ["--check"],
    "scale": ["disk", "--num-examples", "2000", "--rounds", "1"],
    "studies": ["--small"],
    "switched": ["--small"],
    "threads": ["--processes", "1"],
    "transformer_curvature": [],
    "value_based": ["--check"],
}
# Imported by the scripts, and not run.
PARTS = (
    "attention_peers",
    "convolutional",
    "curvature_peers",
    "curvature_speed",
    "gpu_parts",
    "networks_in_torch",
    "plain_transformer",
    "transformers_in_torch",
    "value_based_in_torch",
)
PEERS = ("torch", "curvlinops", "hessian_eigenthings", "pyhessian", "matfree", "gymnasium")


@dataclasses.dataclass(frozen=True)
class Ended:
    """A script that has ended."""

    command: str
    status: int
    seconds: float


def run(script: str, arguments: list[str], log: Any) -> Ended:
    """Run a script, with its output in the log."""
    command = [sys.executable, str(HERE / f"{script}.py"), *arguments]
    shown = f"python benchmarks/{' '.join([f'{script}.py', *arguments])}"
    print(f"$ {shown}", file=log, flush=True)
    began = time.perf_counter()
    environment = {"OPENBLAS_NUM_THREADS": "1"} | os.environ
    done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    return Ended(shown, done.returncode, time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="All benchmarks, with one table.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--small", action="store_true", help="tiny sizes, as a test")
    parser.add_argument("--only", nargs="+", choices=sorted({*TIMED, *STUDIES}))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/bench"))
    given = parser.parse_args()
    chosen = given.only or sorted({*TIMED, *STUDIES})
    form = "small" if given.small else "quick" if given.quick else "full"
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Peers that are not installed, and left out: {', '.join(missing)}")
    commit = (circumstances()["commit"] or "unknown")[:8]
    stamp = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{commit}-{form}"
    given.out.mkdir(parents=True, exist_ok=True)
    out = given.out / stamp
    measured: list[Measured] = []
    ended: list[Ended] = []
    flags = [] if form == "full" else [f"--{form}"]
    with open(f"{out}.log", "w") as log, tempfile.TemporaryDirectory() as folder:
        for script, arguments in TIMED.items():
            if script in chosen:
                file = pathlib.Path(folder, f"{script}.json")
                done = run(script, [*arguments, *flags, "--json", str(file)], log)
                ended.append(_told(done))
                measured += load(file)[1] if file.exists() else []
        for script, arguments in STUDIES.items():
            if script in chosen:
                ended.append(_told(run(script, arguments, log)))
    text = table(measured)
    print(f"\n{text}\n\nThe numbers are in {out}.json, the output of all scripts in {out}.log")
    pathlib.Path(f"{out}.txt").write_text(text + "\n")
    scripts = [dataclasses.asdict(one) for one in ended]
    save(pathlib.Path(f"{out}.json"), measured, form=form, scripts=scripts, missing=missing)
    if failed := [one.command for one in ended if one.status]:
        raise SystemExit("These ended with an error: " + "; ".join(failed))


def _told(ended: Ended) -> Ended:
    state = "" if ended.status == 0 else f", status {ended.status}"
    print(f"{ended.seconds:6.0f} s{state}  {ended.command}", flush=True)
    return ended


if __name__ == "__main__":
    main()
