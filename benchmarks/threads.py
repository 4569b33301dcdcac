"""Does the time of a run vary between processes because of BLAS threads?

    python benchmarks/threads.py [--processes 10]

New processes run one after another. Each times effective-rank steps inside `train_continual` (three
layers of 100 units, windows of 100 examples). The script prints the time of a step in each process,
and the ratio of the slowest to the fastest. For comparison each process also times the `eigh` of a
100 x 100 matrix outside the library, with the default number of BLAS threads.
"""

import argparse
import json
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from spectral import algorithms, models, tasks, train_continual


def step_times() -> dict[str, float]:
    """The microseconds of an effective-rank step, and of a bare `eigh`."""
    steps = 10000
    stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=1, steps_per_task=steps)
    model = models.MLP(64, 10, width=100, key=jax.random.key(0))
    taken = {"bp": [], "er": []}
    makers = {"bp": algorithms.bp(1e-2), "er": algorithms.er(1e-2, er_period=100)}
    for _ in range(6):
        for name, algo in makers.items():
            start = time.perf_counter()
            train_continual(model, stream, algo)
            taken[name].append(time.perf_counter() - start)
    best = {name: min(seconds) for name, seconds in taken.items()}

    matrix = jax.random.normal(jax.random.key(0), (100, 100))
    eigh = jax.jit(lambda a: jnp.linalg.eigh(a + a.T)[0])
    bare = []
    for _ in range(20):
        start = time.perf_counter()
        eigh(matrix).block_until_ready()
        bare.append(time.perf_counter() - start)
    return {
        "er_step": (best["er"] - best["bp"]) / (steps / 100) * 1e6,
        "bare_eigh": float(np.median(bare)) * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Does the time of a run vary because of BLAS threads?"
    )
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--child", action="store_true", help="time once and print JSON")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(step_times()))
        return
    results = []
    for i in range(arguments.processes):
        child = [sys.executable, __file__, "--child"]
        done = subprocess.run(child, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(
            f"process {i}: effective-rank step {results[-1]['er_step']:7.0f} us, "
            f"bare eigh {results[-1]['bare_eigh']:7.0f} us",
            flush=True,
        )
    for name in results[0]:
        values = [r[name] for r in results]
        print(f"{name}: slowest / fastest = {max(values) / min(values):.2f}")


if __name__ == "__main__":
    main()
