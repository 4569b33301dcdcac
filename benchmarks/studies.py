"""The cost of studies: several seeds, saving, resuming after a kill, and the start of the help.

    python benchmarks/studies.py [--tasks 100] [--seeds 10] [--kills 30] [--only seeds saving]
    python benchmarks/studies.py --small

- `seeds`: the throughput of `--seeds` seeds of the digits run (BP, without probes) on two host
  devices, divided by the throughput of one seed in this process, after compilation.
- `saving`: the time of a digits run that saves checkpoints and histories after every segment, as
  `spectral run` does, compared with the run without saving.
- `kills`: `spectral run` is killed (SIGKILL) and resumed `--kills` times, at random moments after
  its first checkpoint, and every second time during the writing of a checkpoint. The final
  histories and the checksums of all weights must equal those of a run that was not killed.
- `help`: the seconds that `spectral --help` takes.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time


# This must be set before JAX starts.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from spectral import algorithms, Ensemble, models, tasks, train_continual  # noqa: E402
from spectral.studies import load_results  # noqa: E402
from spectral.studies.experiment._groups import Group  # noqa: E402
from spectral.studies.runs._keeper import Keeper  # noqa: E402


def parts(num_tasks: int, seeds: int):
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=num_tasks, steps_per_task=1500)
    keys = jax.random.split(jax.random.key(0), seeds)
    make = lambda key: models.MLP(64, 10, width=100, depth=3, key=key)
    return stream, algorithms.bp(0.03), [make(key) for key in keys], keys


def measure_seeds(num_tasks: int, seeds: int, rounds: int) -> None:
    stream, algo, nets, keys = parts(num_tasks, seeds)
    pace: dict[int, list[float]] = {1: [], seeds: []}
    for repetition in range(rounds + 1):  # the first compiles
        for count in pace:
            began = time.perf_counter()
            ensemble = Ensemble.of(nets[:count])
            train_continual(ensemble, stream, algo, key=Ensemble(keys[:count]))
            if repetition:
                pace[count].append(count * num_tasks / (time.perf_counter() - began))
    one, many = (float(np.median(p)) for p in pace.values())
    ratios = [b / a for a, b in zip(*pace.values(), strict=True)]
    print(f"devices: {len(jax.devices())} of {os.cpu_count()} cores")
    print(f"one seed: {one:.1f} tasks/s; {seeds} seeds: {many:.1f} tasks/s in total")
    print(f"ratio: {np.median(ratios):.2f} (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")


def measure_saving(num_tasks: int, rounds: int) -> None:
    stream, algo, nets, keys = parts(num_tasks, 1)
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    for repetition in range(rounds + 1):
        for name, own in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                (pathlib.Path(folder) / ".spectral-run").touch()
                keeper = Keeper(pathlib.Path(folder), Group(0, (("bp", 0),)), stream)
                began = time.perf_counter()
                train_continual(
                    Ensemble.of(nets),
                    stream,
                    algo,
                    key=Ensemble(keys),
                    segment_tasks=5,
                    checkpointer=keeper if name == "with" else None,
                )
                if repetition:
                    own.append(time.perf_counter() - began)
    ratios = [b / a for a, b in zip(seconds["without"], seconds["with"], strict=True)]
    print(f"a run of {num_tasks} tasks: {np.median(seconds['without']):.2f} s")
    print(f"saving costs {np.median(ratios) - 1:.1%} of it")


RUN = """
import sys
from spectral import _loop
from spectral.studies.runs import _keeper
from spectral.studies.command_line._main import main
_keeper.TIME_FRACTION, _loop._SEGMENT_SECONDS = float("inf"), 0.0  # save after every task
sys.exit(main(["run", *sys.argv[1:]]))
"""
EXPERIMENT = """
seeds: 2
stream:
  type: PermutedImages
  images: {type: load_images, name: digits}
  num_tasks: TASKS
  steps_per_task: 300
model: {type: MLP, width: 32, depth: 2}
algorithms:
  l2_er: {type: l2_er, lr: 3e-2, er_period: 50}
probes:
  dead: {type: DeadUnits, every: 5, num_examples: 100}
"""


def measure_kills(kills: int) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        (place / "x.yaml").write_text(EXPERIMENT.replace("TASKS", str(20 * kills)))

        def begin(folder: str, *options: str) -> subprocess.Popen:
            command = [sys.executable, "-W", "ignore", "-c", RUN, "x.yaml", "--out", folder]
            return subprocess.Popen([*command, *options], cwd=place, stdout=subprocess.DEVNULL)

        if begin("whole").wait():
            raise SystemExit("The run without kills failed.")
        done, amid = 0, 0
        kept = place / "out" / "checkpoints" / "0"

        def writing(before: set[pathlib.Path]) -> bool:
            return any("tmp" in path.name for path in set(kept.glob("*")) - before)

        while done < kills:
            process = begin("out", *(["--resume"] if done else []))
            before = set(kept.glob("*"))
            while process.poll() is None and set(kept.glob("*")) <= before:
                time.sleep(0.002)
            time.sleep(rng.random())
            # Every second kill happens while a checkpoint is being written.
            while done % 2 and process.poll() is None and not writing(before):
                time.sleep(0.0005)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            amid += writing(before)
        if begin("out", "--resume").wait():
            raise SystemExit("The run that was killed could not be resumed.")
        first, second = (load_results(place / f).members for f in ("whole", "out"))
        same = all(
            np.array_equal(one.history[column], other.history[column], equal_nan=True)
            for one, other in zip(first, second, strict=True)
            for column in one.history
        )
        about = lambda f: sorted((place / f / "checkpoints" / "0").glob("*/about/metadata"))[-1]
        weights = about("whole").read_text() == about("out").read_text()
    print(f"killed {done} times, {amid} times while a checkpoint was being written")
    print(f"equal bit for bit: histories {same}, weights and states {weights}")
    if not (same and weights):
        raise SystemExit("A resumed run differs.")


def measure_help(rounds: int) -> None:
    command = pathlib.Path(sys.executable).with_name("spectral")
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - began)
    print(f"spectral --help: {np.median(seconds):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of studies.")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=["seeds", "saving", "kills", "help"])
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    if given.small:
        given.tasks, given.seeds, given.kills, given.rounds = 2, 2, 1, 1
    measurements = {
        "seeds": lambda: measure_seeds(given.tasks, given.seeds, given.rounds),
        "saving": lambda: measure_saving(given.tasks, given.rounds),
        "kills": lambda: measure_kills(given.kills),
        "help": lambda: measure_help(given.rounds),
    }
    for name in given.only or measurements:
        print(f"{name}:", flush=True)
        measurements[name]()


if __name__ == "__main__":
    main()
