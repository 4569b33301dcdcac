"""The cost of studies: several seeds, saving, resuming after a kill, reading, and the help.

    python benchmarks/studies.py [--tasks 100] [--seeds 10] [--kills 30] [--only seeds saving]
    python benchmarks/studies.py --small

- `seeds`: the throughput of `--seeds` seeds of the digits run (BP, without probes) on two host
  devices, divided by the throughput of one seed in this process, after compilation.
- `saving`: the time of a digits run that saves checkpoints and histories after every segment, as
  `spectral run` does, compared with the run without saving.
- `kills`: `spectral run` is killed (SIGKILL) and resumed `--kills` times, at random moments after
  its first checkpoint, and every second time during the writing of a checkpoint. The final
  histories and the checksums of all weights must equal those of a run that was not killed.
- `reading`: the report, the summary and the figures of run folders that are written here without
  training: 300 cells of a grid with spectra (two seeds, 60 tasks), and 200 algorithms of 20,000
  tasks; and the time to append a task to a history of 1,000 and of 100,000 tasks.
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

from spectral import (  # noqa: E402
    algorithms,
    Ensemble,
    History,
    models,
    probes,
    Quantity,
    tasks,
    train_continual,
)
from spectral._base._quantity import described  # noqa: E402
from spectral._history import GrowingHistory  # noqa: E402
from spectral.studies import (  # noqa: E402
    draw_figures,
    load_results,
    Member,
    summarise,
    write_report,
)
from spectral.studies.experiment._groups import Group  # noqa: E402
from spectral.studies.runs._folder import open_folder  # noqa: E402
from spectral.studies.runs._keeper import Keeper  # noqa: E402
from spectral.studies.runs._quantities import save_quantities  # noqa: E402
from spectral.studies.runs._results import save_member  # noqa: E402
from spectral.studies.runs.protection._stop import Stop  # noqa: E402


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
                group = Group(0, (("bp", 0),))
                keeper = Keeper(pathlib.Path(folder), group, stream, stop=Stop())
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


def write_run(
    folder: pathlib.Path, *, cells: int, seeds: int, num_tasks: int, spectra: int
) -> None:
    """A run folder of numbers that nothing has been trained for, with `spectra` for each member."""
    rng, quantities = np.random.default_rng(0), {}
    names = {f"l2-{i + 1}": {"type": "l2", "lr": 0.001 * (i + 1)} for i in range(cells)}
    section = {"hessian": {"type": "HessianSpectrum", "epsilon": 0.1}} if spectra else {}
    settings = {"seeds": seeds, "algorithms": names, "probes": section}
    open_folder(folder, settings, {}, "new")
    measured = np.arange(num_tasks) % max(1, num_tasks // max(1, spectra)) == 0
    for index, name in enumerate(names):
        for seed in range(seeds):
            accuracy = 0.1 + 0.8 * index / cells + 0.02 * rng.normal(size=num_tasks)
            columns = {"test_accuracy": accuracy, "online_accuracy": accuracy[:, None]}
            columns["dead.start.fraction"] = rng.random(num_tasks)
            kinds = {"test_accuracy": "accuracy", "online_accuracy": "online accuracy"}
            quantities = {
                column: Quantity(label, guess=0.1, compared=True, figure="performance")
                for column, label in kinds.items()
            } | {"dead.start.fraction": Quantity("dead units", compared=True, figure="units")}
            if spectra:
                nodes = rng.normal(size=(num_tasks, 1, 40)) * 5
                known = {"nodes": nodes, "weights": np.full_like(nodes, 1 / 40)}
                rank = (np.abs(nodes) > 0.1).mean(axis=(1, 2))
                ends = {"": rank, "_lower": rank / 2, "_upper": np.ones(num_tasks)}
                known |= {f"normalised_epsilon_rank{end}": x for end, x in ends.items()}
                for column in known.values():
                    column[~measured] = np.nan
                columns |= {f"hessian.start.{column}": x for column, x in known.items()}
                probe = probes.HessianSpectrum()
                declared = probe.quantities()
                every = [*declared, *(c for q in declared.values() for c in q.bounds.values())]
                sizes = dict.fromkeys(every, 2)  # the entries of `extremes`
                quantities |= described(sizes, probe, "hessian", "hessian.start.")
            quantities = {c: q for c, q in quantities.items() if c in columns}
            save_member(folder, Member(name, seed, "finished", "", History(columns)))
    save_quantities(folder, quantities)


def measure_reading(cells: int, num_tasks: int) -> None:
    def timed(what: str, act):
        began, used = time.perf_counter(), time.process_time()
        result = act()
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        print(f"  {what}: {wall:.1f} s ({cpu:.1f} s of CPU)", flush=True)
        return result

    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        kinds = {
            "grid": {"cells": cells, "seeds": 2, "num_tasks": 60, "spectra": 3},
            "long": {"cells": 2 * cells // 3, "seeds": 1, "num_tasks": num_tasks, "spectra": 0},
        }
        for kind, size in kinds.items():
            write_run(place / kind, **size)
            print(f"{size['cells']} algorithms, {size['seeds']} seeds, {size['num_tasks']} tasks:")
            page = place / f"{kind}.html"
            timed("report", lambda kind=kind, page=page: write_report([place / kind], page))
            print(f"  its page: {page.stat().st_size / 1e6:.1f} MB")
            results = timed("load", lambda kind=kind: load_results(place / kind))
            timed("summarise", lambda results=results: summarise(results))
            timed("plot", lambda results=results: draw_figures(results))
    for length in (1_000, 100_000):
        history = History({"loss": np.zeros((length, 10)), "test_accuracy": np.zeros(length)})
        growing = GrowingHistory(history, num_tasks=length + 1000)
        rows = {"loss": np.ones((1, 10)), "test_accuracy": np.ones(1)}
        began = time.perf_counter()
        for task in range(1000):
            growing.write(rows, length + task)
            _ = growing.history
        each = (time.perf_counter() - began) / 1000
        print(f"a task appended to {length} tasks: {each * 1e6:.0f} microseconds")


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
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--long-tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=["seeds", "saving", "kills", "reading", "help"]
    )
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    if given.small:
        given.tasks, given.seeds, given.kills, given.rounds = 2, 2, 1, 1
        given.cells, given.long_tasks = 3, 400
    measurements = {
        "seeds": lambda: measure_seeds(given.tasks, given.seeds, given.rounds),
        "saving": lambda: measure_saving(given.tasks, given.rounds),
        "kills": lambda: measure_kills(given.kills),
        "reading": lambda: measure_reading(given.cells, given.long_tasks),
        "help": lambda: measure_help(given.rounds),
    }
    for name in given.only or measurements:
        print(f"{name}:", flush=True)
        measurements[name]()


if __name__ == "__main__":
    main()
