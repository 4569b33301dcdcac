"""How fast convolutional networks train inside the loop, and whether they are correct.

    python benchmarks/networks.py [--quick] [--small] [--only NAME ...] [--check] [--double]
                                  [--data-dir FOLDER --data NAME]

A step consists of a minibatch of 32 x 32 images, its gradient and SGD with momentum. The network of
this library runs inside the loop of `train_continual`, and the PyTorch network runs in a Python
loop. Both start from bytes. `--check` compares the networks with an independent definition in
PyTorch with equal weights: outputs, gradients and running statistics, in training and in inference.
With `--double` it uses double precision, in which rounding does not make a ReLU active in one
network and inactive in the other. `--data-dir` times the loading of a data set from its decoded
copy. PyTorch comes with the extra `benchmarks`.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from convolutional import CASES, make, SHAPE, synthetic
from timing.case import Case, Contender, operations
from timing.command import add_options, Cases, time_cases

from spectral import algorithms, models, tasks, train_continual


try:
    import networks_in_torch
except ImportError:  # without the extra
    networks_in_torch = None


def ours(name: str, images: tasks.ImageSet, steps: int) -> Callable[[], object]:
    """Trains for one task of `steps` steps."""
    _, batch, _ = CASES[name]
    loader = tasks.Loader(minibatch_size=batch, max_minibatches=steps)
    stream = tasks.PermutedLabels(images, num_tasks=1, loader=loader)
    model, state = make(name)
    algo = algorithms.bp(algorithms.sgd(1e-3, momentum=0.9))
    return lambda: train_continual(model, stream, algo, model_state=state)


def step(name: str, steps: int) -> Case:
    _, batch, classes = CASES[name]
    images = synthetic(batch * steps, classes)
    model, state = make(name)
    peers = {}
    if networks_in_torch is not None:
        peers["PyTorch"] = Contender(networks_in_torch.runner(model, images, batch, steps), steps)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    x = jnp.zeros((batch, *SHAPE))

    def loss(params: Any) -> Any:
        network = eqx.combine(params, static)
        return jnp.sum(models.apply_network(network, state, x, inference=False)[0])

    flops = operations(jax.grad(loss), params)
    # As convolutions are computed: patches times a matrix, here those of the widest layer.
    widest = max((p for p in jax.tree.leaves(params) if p.ndim == 4), key=lambda p: p.size)
    product = batch * 64, widest.size // len(widest), len(widest)
    return Case(Contender(ours(name, images, steps), steps), peers, flops, product=product)


def cases(*, quick: bool, small: bool) -> Cases:
    """A step of each network, by its name."""
    chosen = [name for name in CASES if not (quick or small) or name == "convnet"]
    steps = 1 if small else 4
    return {
        f"step of {name}, minibatch of {CASES[name][1]}": functools.partial(step, name, steps)
        for name in chosen
    }


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
    add_options(parser)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--data", default="tiny_imagenet32")
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", given.double)
    if given.data_dir is not None:
        loading(given.data, given.data_dir)
    elif given.check:
        check([name for name in CASES if not given.only or any(t in name for t in given.only)])
    else:
        time_cases(cases(quick=given.quick, small=given.small), given)


if __name__ == "__main__":
    main()
