"""How fast convolutional networks train inside the loop, and whether they are correct.

    python benchmarks/networks.py [--rounds 5] [--steps 4] [--only NAME ...] [--check]
                                  [--double] [--data-dir FOLDER --data NAME]

A step consists of a minibatch of 32 x 32 images, its gradient and SGD with momentum. The network of
this library runs inside the loop of `train_continual`, and the PyTorch network runs in a Python
loop. Both start from bytes and run in turn in one process. `--check` compares the networks with an
independent definition in PyTorch with equal weights: outputs, gradients and running statistics, in
training and in inference. With `--double` it uses double precision, in which rounding does not make
a ReLU active in one network and inactive in the other. `--data-dir` times the loading of a data set
from its decoded copy. PyTorch comes with the extra `benchmarks`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spectral import AbstractMeter, algorithms, History, models, tasks, train_continual


try:
    import networks_in_torch
except ImportError:  # without the extra
    networks_in_torch = None

# (name, network, batch, classes)
CASES: dict[str, tuple[Callable[..., Any], int, int]] = {
    "convnet": (models.ConvNet, 100, 2),
    "resnet18, width 8": (lambda *a, key: models.ResNet18(*a, width=8, key=key), 100, 100),
    "resnet18, width 64": (models.ResNet18, 20, 100),
}
SHAPE = (3, 32, 32)


def synthetic(rows: int, classes: int) -> tasks.ImageSet:
    rng = np.random.default_rng(0)
    labels = jnp.asarray(np.arange(rows) % classes)
    images = jnp.asarray(rng.integers(0, 256, (rows, 32, 32, 3)).astype(np.uint8))
    return tasks.ImageSet("synthetic", images, labels, images[:10], labels[:10], classes, 255)


def make(name: str) -> tuple[Any, Any]:
    """A network with slightly perturbed initial weights, and its state."""
    network, _, classes = CASES[name]
    model, state = eqx.nn.make_with_state(network)(SHAPE, classes, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.05 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    model = eqx.apply_updates(model, jax.tree.unflatten(structure, noise))
    return model, state if jax.tree.leaves(state) else None


class TaskTimes(AbstractMeter):
    """Records when each task ends."""

    def __init__(self):
        self.at: list[float] = []

    def update(self, done: int, total: int, history: History) -> None:
        self.at.append(time.perf_counter())


def our_seconds(name: str, images: tasks.ImageSet, steps: int, rounds: int) -> list[float]:
    _, batch, _ = CASES[name]
    loader = tasks.Loader(minibatch_size=batch, max_minibatches=steps)
    stream = tasks.PermutedLabels(images, num_tasks=rounds + 1, loader=loader)
    model, state = make(name)
    meter = TaskTimes()
    algo = algorithms.bp(algorithms.sgd(1e-3, momentum=0.9))
    train_continual(model, stream, algo, model_state=state, segment_tasks=1, meter=meter)
    # The time of the first task includes compilation.
    return (np.diff(meter.at)[1:] / steps).tolist()


def speed(names: list[str], steps: int, rounds: int) -> None:
    print(f"{'':20s}{'batch':>7s}{'ours ms':>10s}{'torch ms':>10s}{'ratio':>8s}")
    for name in names:
        _, batch, classes = CASES[name]
        images = synthetic(batch * steps, classes)
        ours = 1e3 * float(np.median(our_seconds(name, images, steps, rounds)))
        theirs = float("nan")
        if networks_in_torch is not None:
            train = networks_in_torch.runner(make(name)[0], images, batch, steps)
            train()
            theirs = 1e3 * float(np.median([train() for _ in range(rounds)]))
        print(f"{name:20s}{batch:7d}{ours:10.1f}{theirs:10.1f}{ours / theirs:8.2f}", flush=True)


def check(names: list[str]) -> None:
    if networks_in_torch is None:
        raise SystemExit("PyTorch is missing: pip install '.[benchmarks]'")
    print("Largest differences, relative to the largest entry of the array or layer")
    for name in names:
        _, batch, classes = CASES[name]
        model, state = make(name)
        x = np.asarray(jax.random.normal(jax.random.key(2), (batch, *SHAPE)))
        y = np.arange(batch) % classes

        @eqx.filter_jit
        @eqx.filter_value_and_grad(has_aux=True)
        def ours(model, state, x=x, y=y):
            logits, aux = models.apply_network(model, state, jnp.asarray(x), inference=False)
            return tasks.cross_entropy(logits, jnp.asarray(y))[0], (logits, aux.model_state)

        (_, (logits, state)), grads = ours(model, state)
        inferred, _ = eqx.filter_jit(models.apply_network)(
            model, state, jnp.asarray(x), inference=True
        )
        found = networks_in_torch.differences(model, state, logits, grads, inferred, x, y)
        cells = (f"{what} {value:.1e}" for what, value in found.items())
        print(f"{name:20s}{', '.join(cells)}", flush=True)


def loading(name: str, data_dir: str) -> None:
    tasks.load_images(name, data_dir=data_dir)
    began = time.perf_counter()
    images = jax.block_until_ready(tasks.load_images(name, data_dir=data_dir))
    seconds = time.perf_counter() - began
    size = sum(a.nbytes for a in (images.train_images, images.test_images)) / 1e6
    dtype = images.train_images.dtype
    print(f"load_images({name!r}), decoded: {seconds:.2f} s for {size:.0f} MB of {dtype}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Convolutional networks inside the loop.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--data", default="tiny_imagenet32")
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", given.double)
    if given.data_dir is not None:
        loading(given.data, given.data_dir)
    elif given.check:
        check(given.only)
    else:
        speed(given.only, given.steps, given.rounds)


if __name__ == "__main__":
    main()
