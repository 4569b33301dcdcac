"""The cost of every recipe relative to plain backpropagation.

    python benchmarks/algorithms.py [--width 1000] [--steps 600] [--rounds 5] [--only cbp l2]
    python benchmarks/algorithms.py --small

Trains an MLP 784-W-W-W-10 online (one example per step), with all recipes in one process and in
turn. Each ratio is the median over rounds of the recipe's time divided by the time of `bp` in that
round. `--small` trains a tiny network for a few steps, as a test.
"""

import argparse
import time
from collections.abc import Callable

import jax
from training import synthetic

from spectral import algorithms, models, tasks, train_continual


def recipes(period: int) -> dict[str, algorithms.Algorithm]:
    lr = 1e-3
    return {
        "bp": algorithms.bp(lr),
        "l2": algorithms.l2(lr),
        "er": algorithms.er(lr, er_period=period),
        "l2_er": algorithms.l2_er(lr, er_period=period),
        "cbp": algorithms.cbp(lr),
        "cbp_l2": algorithms.cbp_l2(lr),
        "redo": algorithms.redo(lr, period=period),
        "regrama": algorithms.regrama(lr, period=period),
        "snr": algorithms.snr(lr),
        "snp": algorithms.snp(lr),
        f"snp /{period}": algorithms.snp(lr, period=period),
        "snp_l2": algorithms.snp_l2(lr),
        "reset": algorithms.reset(lr),
        "l2_init": algorithms.l2_init(lr),
        "wasserstein": algorithms.wasserstein(lr),
        "spectral_reg": algorithms.spectral_reg(lr),
        "parseval": algorithms.parseval(lr),
        "layernorm_l2": algorithms.layernorm_l2(lr),
        "nap": algorithms.nap(lr),
        f"nap /{period}": algorithms.nap(lr, period=period),
        "upgd": algorithms.upgd(lr),
        "hare_tortoise": algorithms.hare_tortoise(lr, period=period),
        f"cpr /{period}": algorithms.cpr(lr, period=period),
        f"selective_reinit /{period}": algorithms.selective_reinit(lr, period=period),
        "fire": algorithms.fire(lr),
        "dash": algorithms.dash(lr),
        "weight_clipping": algorithms.weight_clipping(lr),
        "soft_weight_rescaling": algorithms.soft_weight_rescaling(lr),
        "trac": algorithms.trac(lr),
        "adam_local_time": algorithms.adam_local_time(lr),
        "bp, Adam": algorithms.bp(algorithms.adam(lr)),
        "cbp, Adam": algorithms.cbp(algorithms.adam(lr)),
        "bp, Muon": algorithms.bp(algorithms.muon(lr)),
    }


def runner(images: tasks.ImageSet, width: int, name: str, algo) -> Callable[[], object]:
    rows = images.train_labels.shape[0]
    stream = tasks.PermutedImages(images, num_tasks=1, steps_per_task=rows)
    norm = name.split()[0] in ("layernorm_l2", "nap")
    model = models.MLP(784, 10, width=width, layer_norm=norm, key=jax.random.key(0))
    return lambda: train_continual(model, stream, algo)


def measure(runners: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for run in runners.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The cost of every recipe relative to backpropagation."
    )
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    width, steps, rounds, period = arguments.width, arguments.steps, arguments.rounds, 100
    if arguments.small:
        width, steps, rounds, period = 8, 20, 1, 10
    images = synthetic(steps)
    chosen = recipes(period)
    if arguments.only:
        chosen = {n: a for n, a in chosen.items() if n == "bp" or n in arguments.only}
    runners = {name: runner(images, width, name, algo) for name, algo in chosen.items()}
    seconds = measure(runners, rounds)
    middle = lambda numbers: sorted(numbers)[len(numbers) // 2]
    print(f"MLP 784-{width}-{width}-{width}-10, batch 1, {steps} steps, median of {rounds} rounds")
    print(f"{'':16s}{'us/step':>10s}{'/ bp':>8s}")
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds["bp"], strict=True)]
        print(f"{name:16s}{middle(own) / steps * 1e6:10.1f}{middle(ratios):8.2f}")


if __name__ == "__main__":
    main()
