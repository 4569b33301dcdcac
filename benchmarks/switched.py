"""What a switch costs that measures a sign at every task start and never crosses its threshold.

    python benchmarks/switched.py [--tasks 10] [--small]

Backpropagation on permuted digits (MLP 64-100-100-100-10, 1,500 steps a task), alone and with
`SwitchedOn` on three signs. Each is called three times. The script prints the CPU time of the first
call, which compiles, and of the third.
"""

import argparse
import time

import jax

from spectral import algorithms, models, probes, tasks, train_continual
from spectral.curvature import Lanczos


def main() -> None:
    parser = argparse.ArgumentParser(description="Times SwitchedOn on three signs.")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="a short run, as a test")
    arguments = parser.parse_args()
    steps, width = (20, 4) if arguments.small else (1500, 100)
    count = 2 if arguments.small else arguments.tasks
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=count, steps_per_task=steps)
    model = models.MLP(stream.in_size, 10, width=width, depth=3, key=jax.random.key(0))
    spectrum = probes.HessianSpectrum(num_examples=200, estimator=Lanczos(order=40))
    signs = {
        "norm of the weights": (probes.WeightNorm(), "norm"),
        "dead units": (probes.DeadUnits(), "fraction"),
        "eps-rank": (spectrum, "normalised_epsilon_rank"),
    }
    rescue = algorithms.ShrinkPerturb(shrink=0.6, target="fresh", amount=0.1, at="task")
    contenders = {"without": algorithms.bp(0.03)}
    for name, (sign, column) in signs.items():
        switched = algorithms.SwitchedOn(rescue, sign, column, threshold=1e9, direction="above")
        contenders[name] = algorithms.followed_by(algorithms.bp(0.03), (switched,))
    for name, algo in contenders.items():
        seconds = []
        for _ in range(3):
            began = time.process_time()
            train_continual(model, stream, algo)
            seconds.append(time.process_time() - began)
        print(f"{name:20s} first {seconds[0]:6.2f} s, then {seconds[2]:6.3f} s", flush=True)


if __name__ == "__main__":
    main()
