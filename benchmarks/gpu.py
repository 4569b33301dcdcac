"""The loop on a GPU: agreement with the CPU, and the speed of ensembles.

    python benchmarks/gpu.py

The script takes less than nine minutes. On a machine without a GPU it runs at a small size on the
CPU. This tests the script, but not the speed.

Members are independent runs, with their own networks and keys, under one `jax.vmap` of the compiled
loop: online SGD (one example per step) on the paper's MLP 784-1000-1000-1000-10. Every step of a
member reads its weights for the forward product and for the backward product, which the first layer
does not need. The update reads and writes them once more. The bandwidth fraction is this traffic
divided by the bandwidth of a large copy on that device.
"""

import argparse
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from training import synthetic

from spectral import algorithms, models, tasks, train_continual
from spectral._core import begin_task, run_tasks, start_run


def seconds(run: Callable[[], object], rounds: int) -> float:
    """The median time of a call, after one call that compiles."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def bandwidth(megabytes: int) -> float:
    """The bytes per second of a copy, which reads and writes each byte once."""
    data = jnp.zeros(megabytes * 2**18, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return 2 * data.nbytes / seconds(lambda: copy(data), 10)


def agreement(width: int, steps: int) -> None:
    """Compares a short run on the CPU with the same run on the default device."""
    images = synthetic(steps)
    losses = {}
    for device in (jax.devices("cpu")[0], jax.devices()[0]):
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            data = jax.device_put(images, device)
            stream = tasks.PermutedImages(
                data, num_tasks=2, steps_per_task=steps, chunks_per_task=steps
            )
            model = models.MLP(784, 10, width=width, key=jax.random.key(0))
            algo = algorithms.l2_er(1e-2, er_period=1)
            _, history = train_continual(model, stream, algo)
            losses[device.platform] = history["loss"].ravel()
    if len(losses) == 1:
        print("agreement: there is no GPU here, so nothing is compared")
        return
    ours, theirs = losses.values()
    error = np.max(np.abs(ours - theirs) / np.maximum(np.abs(ours), 1e-3))
    print(f"agreement: L2-ER, width {width}, {2 * steps} steps; largest relative difference in the")
    print(f"  loss of a step between {' and '.join(losses)}: {error:.1e}")
    if not error < 1e-2:
        raise SystemExit("The two devices disagree: their losses differ by more than 1 %.")


def speed(members: int, width: int, steps: int, rounds: int) -> float:
    """The total number of steps per second, over all members."""
    stream = tasks.PermutedImages(synthetic(steps), num_tasks=1, steps_per_task=steps)
    algo = algorithms.bp(1e-2)
    zero, one = jnp.asarray(0, int), jnp.asarray(1, int)
    keys = jax.random.split(jax.random.key(0), members)

    def start(key):
        run = start_run(models.MLP(784, 10, width=width, key=key), None, stream, algo, key)
        return begin_task(run, stream, algo, zero, key)

    @eqx.filter_jit
    def train(runs, stream, keys):
        return eqx.filter_vmap(
            lambda run, key: run_tasks(run, stream, algo, zero, one, 1, key),
        )(runs, keys)

    runs = eqx.filter_jit(eqx.filter_vmap(start))(keys)
    return (
        members
        * steps
        / seconds(lambda: eqx.filter(train(runs, stream, keys), eqx.is_array), rounds)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The loop on a GPU: agreement with the CPU, and speed."
    )
    parser.add_argument("--members", type=int, nargs="+", default=None)
    arguments = parser.parse_args()
    device = jax.devices()[0]
    gpu = device.platform == "gpu"
    width, steps, rounds = (1000, 1000, 3) if gpu else (32, 50, 2)
    members = arguments.members or ([1, 4, 16, 64, 256] if gpu else [1, 2, 4])
    print(f"device: {device.device_kind}; JAX {jax.__version__}")
    agreement(width=100 if gpu else 16, steps=50 if gpu else 5)
    peak = bandwidth(2048 if gpu else 64)
    print(f"bandwidth of a copy: {peak / 1e9:.0f} GB/s")
    sizes = [784, width, width, width, 10]
    layers = [m * n + n for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    traffic = 4 * (4 * sum(layers) - layers[0])  # bytes per step and member
    print(f"\nMLP 784-{width}-{width}-{width}-10, batch 1, {steps} steps, bp")
    print(f"{'members':>8s}{'us/step':>10s}{'member-steps/s':>16s}{'bandwidth fraction':>20s}")
    for count in members:
        pace = speed(count, width, steps, rounds)
        fraction = f"{pace * traffic / peak:.0%}" if gpu else "-"
        print(f"{count:8d}{1e6 * count / pace:10.1f}{pace:16.0f}{fraction:>20s}")


if __name__ == "__main__":
    main()
