"""How fast the loop trains: `train_continual` compared with a bare JAX scan and a PyTorch loop.

    python benchmarks/training.py [--quick] [--small] [--collapse]

The task is online SGD (one example per step) on an MLP 784-W-W-W-10, for W = 100 and 1000. `bare`
is a hand-written JAX program for this network: one `lax.scan` over
pixels that were shuffled, permuted and scaled outside the measured time. The rows of this library
shuffle and permute within the measured time, and compute loss and accuracy of every step, as `bare`
does. The PyTorch row needs the extra `benchmarks` and is left out without it.

The limit is the bandwidth of a copy of arrays as large as the weights: a step reads them for the
forward product and, beyond the first layer, for the backward product, and the update reads and
writes them.

`--collapse` times the tasks of a run of BP on digits that loses its plasticity. It compares the
median of the last tenth of 200 tasks with the median of the first tenth.
"""

import argparse
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from timing.case import Case, Contender
from timing.command import add_options, Cases, time_cases

from spectral import AbstractMeter, algorithms, History, models, tasks, train_continual


def synthetic(rows: int) -> tasks.ImageSet:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, rows)
    centres = rng.integers(0, 256, (10, 28, 28, 1))
    noise = rng.integers(0, 256, (rows, 28, 28, 1))
    images = ((centres[labels] + noise) // 2).astype(np.uint8)
    return tasks.ImageSet(
        name="synthetic",
        train_images=jnp.asarray(images),
        train_labels=jnp.asarray(labels),
        test_images=jnp.asarray(images[:10]),
        test_labels=jnp.asarray(labels[:10]),
        num_classes=10,
        max_value=255,
    )


def spectral_runner(images: tasks.ImageSet, width: int, algo) -> Callable[[], object]:
    steps = images.train_labels.shape[0]
    stream = tasks.PermutedImages(images, num_tasks=1, steps_per_task=steps)
    model = models.MLP(784, 10, width=width, key=jax.random.key(0))
    return lambda: train_continual(model, stream, algo)


def bare_runner(images: tasks.ImageSet, width: int, lr: float) -> Callable[[], object]:
    model = models.MLP(784, 10, width=width, key=jax.random.key(0))
    weights = [(layer.weight, layer.bias) for layer in model.layers]
    rows = images.train_labels.shape[0]
    pixels = images.train_images.reshape(rows, -1)[
        :, jax.random.permutation(jax.random.key(1), 784)
    ]
    inputs = pixels / 255.0

    def loss(weights, x, y):
        for w, b in weights[:-1]:
            x = jax.nn.relu(w @ x + b)
        w, b = weights[-1]
        logits = w @ x + b
        return jax.nn.logsumexp(logits) - logits[y], jnp.argmax(logits) == y

    @jax.jit
    def train(weights, inputs, labels):
        def step(weights, example):
            (value, right), grads = jax.value_and_grad(loss, has_aux=True)(weights, *example)
            return jax.tree.map(lambda w, g: w - lr * g, weights, grads), (value, right)

        return jax.lax.scan(step, weights, (inputs, labels))

    return lambda: jax.block_until_ready(train(weights, inputs, images.train_labels))


def torch_runner(images: tasks.ImageSet, width: int, lr: float) -> Callable[[], object] | None:
    try:
        import torch  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
        return None
    rows = images.train_labels.shape[0]
    inputs = torch.tensor(np.asarray(images.train_images).reshape(rows, -1) / 255.0).float()
    labels = torch.tensor(np.asarray(images.train_labels)).long()
    sizes = [784, width, width, width, 10]
    layers = []
    for m, n in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [torch.nn.Linear(m, n), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)

    def train():
        for i in range(rows):
            optimiser.zero_grad()
            logits = net(inputs[i : i + 1])
            value = torch.nn.functional.cross_entropy(logits, labels[i : i + 1])
            value.backward()
            optimiser.step()

    return train


class TaskTimes(AbstractMeter):
    """Records when each segment ends."""

    def __init__(self):
        self.at: list[float] = []

    def update(self, done: int, total: int, history: History) -> None:
        self.at.append(time.perf_counter())


def collapse(width: int, num_tasks: int, lr: float) -> None:
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=num_tasks, steps_per_task=1500)
    model = models.MLP(64, 10, width=width, key=jax.random.key(0))
    meter = TaskTimes()
    _, history = train_continual(
        model, stream, algorithms.bp(lr), segment_tasks=1, meter=meter, key=jax.random.key(1)
    )
    seconds = np.diff(meter.at)[1:]
    tenth = num_tasks // 10
    first, last = np.median(seconds[:tenth]), np.median(seconds[-tenth:])
    accuracy = history["test_accuracy"]
    print(
        f"width {width}, lr {lr}, {num_tasks} tasks: accuracy {accuracy[:tenth].mean():.2f} -> "
        f"{accuracy[-tenth:].mean():.2f}; a task {first * 1e3:.1f} -> {last * 1e3:.1f} ms, "
        f"ratio {last / first:.2f}",
        flush=True,
    )


def traffic(inputs: int, width: int) -> tuple[float, float]:
    """The bytes that a step reads and writes, and the bytes of the weights."""
    sizes = [inputs, width, width, width, 10]
    layers = [m * n + n for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    return 4.0 * (4 * sum(layers) - layers[0]), 4.0 * sum(layers)


def loop(width: int, steps: int, kind: str) -> Case:
    """The loop with an algorithm. Only backpropagation has peers."""
    lr, images = 0.01, synthetic(steps)
    algo = getattr(algorithms, kind)(lr)
    ours = Contender(spectral_runner(images, width, algo), steps)
    if kind != "bp":
        bp = spectral_runner(images, width, algorithms.bp(lr))
        return Case(ours, {"bp of this library": Contender(bp, steps)})
    peers = {"bare JAX": Contender(bare_runner(images, width, lr), steps)}
    few = min(steps, 3000)
    torch = torch_runner(synthetic(few), width, lr)
    if torch is not None:
        peers["PyTorch"] = Contender(torch, few)
    each, weights = traffic(784, width)
    return Case(ours, peers, traffic=each, working_set=round(weights))


def cases(*, quick: bool, small: bool) -> Cases:
    """A step of the loop, by its name."""
    sizes = {4: 100} if small else {100: 20000} if quick else {100: 60000, 1000: 1500}
    return {
        f"step of {kind}, MLP {width}, batch 1": functools.partial(loop, width, steps, kind)
        for width, steps in sizes.items()
        for kind in ("bp", "l2", "er", "l2_er")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the loop trains.")
    add_options(parser)
    parser.add_argument("--collapse", action="store_true")
    given = parser.parse_args()
    if given.collapse:
        collapse(100, 200, 0.03)
        collapse(1000, 40, 0.03)
        return
    time_cases(cases(quick=given.quick, small=given.small), given)


if __name__ == "__main__":
    main()
