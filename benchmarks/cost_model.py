"""The cost model of docs/performance.md: its constants, its predictions, and what it sizes.

    python benchmarks/cost_model.py [--rounds 5] [--small]

Everything runs on one core. Times are those of the processor, the smallest of the rounds, so that
other programs hardly show. Four constants of a step, two of a product and one of the Lanczos
iteration are fitted to seven measurements on small networks. Then the script predicts three runs
that it was not fitted to, measures them, and prints both: another width, another stream (with
another size of minibatches), another estimator.

The last lines size what cannot run here. What they assume of other machines is a table at the top
of this file.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np


if hasattr(os, "sched_setaffinity"):  # before JAX starts its threads
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from spectral import algorithms, models, tasks, train_continual  # noqa: E402
from spectral.curvature import (  # noqa: E402
    Chebyshev,
    Hessian,
    Lanczos,
    Risk,
    SoftmaxCrossEntropy,
)


INPUTS, CLASSES, DEPTH = 64, 10, 3  # digits
STEPS = 4000  # that are timed
# Assumed of one GPU: float32 products and copies as sustained, memory, and a sum over all devices.
GPU = {"flops": 50e12, "bandwidth": 1.5e12, "memory": 80e9, "reduction": 200e9}
GPT = {"parameters": 124e6, "depth": 12, "width": 768, "context": 1024, "sequences": 64}


def layers(width: int) -> list[int]:
    """The weights of each layer, without biases."""
    sizes = [INPUTS, *[width] * DEPTH, CLASSES]
    return [m * n for m, n in zip(sizes[:-1], sizes[1:], strict=True)]


def parameters(width: int) -> int:
    return sum(layers(width)) + DEPTH * width + CLASSES


def step_terms(width: int, minibatch: int) -> list[float]:
    """What the constants of a step multiply: 1; the bytes of the weights that it reads and writes;
    the operations of the rows of the minibatch beyond the first, which reuse them; and the numbers
    of these rows that are activations."""
    first, total = layers(width)[0], sum(layers(width))
    operations = 2 * (3 * total - first) * (minibatch - 1)
    return [1.0, 4.0 * (4 * total - first), float(operations), float(width * (minibatch - 1))]


def product_terms(width: int, rows: int) -> list[float]:
    """What the constants of a Hessian product multiply: 1, and its operations."""
    first, *rest = layers(width)
    return [1.0, 2.0 * rows * (6 * sum(rest) + 2 * first)]


def smallest(run: Callable[[], Any], rounds: int) -> float:
    """The smallest processor time of a call, after one that compiles."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        jax.block_until_ready(run())
        taken.append(time.process_time() - began)
    return min(taken)


def network(width: int) -> models.MLP:
    return models.MLP(INPUTS, CLASSES, width=width, depth=DEPTH, key=jax.random.key(0))


def step_seconds(stream_of: Callable[[int], Any], width: int, steps: int, rounds: int) -> float:
    """The seconds of a step, with its part of what begins and ends a task: the difference between
    a run of many tasks and one of one task, so that what a run costs once drops out."""
    model, algo, further = network(width), algorithms.bp(1e-3), -(-STEPS // steps)
    few, more = (stream_of(count) for count in (1, 1 + further))
    run = lambda stream: smallest(lambda: train_continual(model, stream, algo)[1]["loss"], rounds)
    return (run(more) - run(few)) / (further * steps)


def permuted_images(minibatch: int, steps: int) -> Callable[[int], Any]:
    images = tasks.load_images("digits")
    return lambda count: tasks.PermutedImages(
        images,
        num_tasks=count,
        steps_per_task=steps,
        minibatch_size=minibatch,
        num_evaluation_examples=10,
    )


def permuted_labels(minibatch: int, epochs: int) -> Callable[[int], Any]:
    loader = tasks.Loader(minibatch_size=minibatch, epochs=epochs, flat=True)
    images = tasks.load_images("digits")
    return lambda count: tasks.PermutedLabels(images, num_tasks=count, loader=loader)


def forward(model: Any, inputs: Any) -> Any:
    return jax.vmap(model)(inputs)[0]


def hessian(width: int, rows: int) -> Hessian:
    inputs = jax.random.normal(jax.random.key(1), (rows, INPUTS))
    labels = jnp.arange(rows) % CLASSES
    return Hessian(Risk(forward, SoftmaxCrossEntropy(), inputs, labels), network(width))


@eqx.filter_jit
def products(operator: Hessian, vector: Any, count: Any) -> Any:
    product = operator.product()
    return jax.lax.fori_loop(0, count, lambda _, v: product(v), vector)


def product_seconds(width: int, rows: int, rounds: int) -> float:
    """Without what is done once for all products."""
    operator, vector = hessian(width, rows), eqx.filter(network(width), eqx.is_inexact_array)
    run = lambda n: smallest(lambda: products(operator, vector, jnp.asarray(n)), rounds)
    return (run(21) - run(1)) / 20


def fitted(terms: list[list[float]], seconds: list[float]) -> np.ndarray:
    """The constants that are not negative and fit best, in relative terms."""
    import scipy.optimize

    matrix = np.asarray(terms) / np.asarray(seconds)[:, None]
    scale = np.linalg.norm(matrix, axis=0)
    return scipy.optimize.nnls(matrix / scale, np.ones(len(seconds)))[0] / scale


def shown(name: str, predicted: float, measured: float) -> None:
    print(f"{name:55s}{1e3 * predicted:10.4g}{1e3 * measured:10.4g}{predicted / measured:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost model, and whether it predicts.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="short runs, as a test")
    given = parser.parse_args()
    rounds, steps, rows = (1, 20, 20) if given.small else (given.rounds, 1400, 500)

    known = [(64, 1), (192, 1), (128, 32), (64, 16), (192, 16)]
    few = lambda minibatch: max(4, steps // minibatch)
    seconds = [
        step_seconds(permuted_images(m, few(m)), width, few(m), rounds) for width, m in known
    ]
    of_step = fitted([step_terms(*size) for size in known], seconds)
    widths = (64, 192)
    of_product = fitted(
        [product_terms(width, rows) for width in widths],
        [product_seconds(width, rows, rounds) for width in widths],
    )
    order, key = (8, jax.random.key(2)) if given.small else (60, jax.random.key(2))
    vector_bytes = lambda width, order: 4.0 * parameters(width) * order * order * 2
    lanczos, operator = Lanczos(order=order, num_vectors=1), hessian(192, rows)
    density = smallest(lambda: lanczos(operator, key=key).nodes, rounds)
    of_products = (order + 1) * float(np.dot(of_product, product_terms(192, rows)))
    of_vector = max(0.0, density - of_products) / vector_bytes(192, order)
    names = ("a step", "a byte of the weights", "an operation", "an activation")
    print("Constants, in seconds of one core:")
    for name, value in zip(names, of_step, strict=True):
        print(f"  {name} of training: {value:.3g}")
    print(f"  a product: {of_product[0]:.3g}; an operation of it: {of_product[1]:.3g}")
    print(f"  a byte of the basis in the Lanczos iteration: {of_vector:.3g}")

    print(f"\n{'':55s}{'predicted':>10s}{'measured':>10s}{'ratio':>8s}  (ms)")
    for (width, minibatch), found in zip(known, seconds, strict=True):
        predicted = float(np.dot(of_step, step_terms(width, minibatch)))
        shown(f"fitted: step, width {width}, minibatch {minibatch}", predicted, found)
    measured = step_seconds(permuted_images(1, steps), 128, steps, rounds)
    predicted = float(np.dot(of_step, step_terms(128, 1)))
    shown("another width: step, width 128, minibatch 1", predicted, measured)
    stream = permuted_labels(24, 1)
    count = stream(1).chunks_per_task * stream(1).minibatches
    measured = step_seconds(stream, 160, count, rounds)
    predicted = float(np.dot(of_step, step_terms(160, 24)))
    shown("another stream: PermutedLabels, width 160, minibatch 24", predicted, measured)
    # Chebyshev's method finds the range by a short Lanczos iteration, and keeps no basis after it.
    first = min(20, order)
    chebyshev = Chebyshev(order=2 * order, num_vectors=1, range_order=first)
    operator = hessian(128, rows)
    measured = smallest(lambda: chebyshev(operator, key=key).quadrature(), rounds)
    predicted = (2 * order + first + 1) * float(np.dot(of_product, product_terms(128, rows)))
    predicted += of_vector * vector_bytes(128, first)
    shown(f"another estimator: Chebyshev, order {2 * order}, width 128", predicted, measured)
    sized(of_step)


def sized(of_step: np.ndarray) -> None:
    """Prints what runs elsewhere would take, and the resource that binds."""
    devices, order = 8, 100
    tokens = GPT["sequences"] * GPT["context"]
    attention = 4 * GPT["context"] * GPT["width"] * GPT["depth"]
    # A product with the Hessian has twice the operations of a gradient, which has three times those
    # of a forward pass.
    operations = 6 * tokens * (2 * GPT["parameters"] + attention)
    vector = 4 * GPT["parameters"]
    seconds = {
        "operations": order * operations / (devices * GPU["flops"]),
        "traffic of the basis": 2 * order**2 * vector / GPU["bandwidth"],
        "reductions": order * 2 * vector * (devices - 1) / devices / GPU["reduction"],
    }
    slowest = max(seconds, key=lambda name: seconds[name])
    print(
        f"\nDensity of order {order}, GPT of 124 M parameters, {tokens:,} tokens, {devices} GPUs:"
    )
    for name, value in seconds.items():
        print(f"  {name}: {value:.3g} s")
    basis = order * vector
    print(
        f"  memory of each GPU: {basis / 1e9:.3g} GB for the basis of {GPU['memory'] / 1e9:.0f} GB"
        f"\n  The time is bound by: {slowest}. The memory is bound by the basis."
    )
    runs, workers, members, compiling = 10_000, 64, 10, 20.0
    step = float(np.dot(of_step, step_terms(100, 1)))
    training = 200 * 1500 * step
    groups = runs // members
    rounds = -(-groups // workers)
    once = compiling + members * training
    print(
        f"\nA sweep of {runs:,} digits runs (200 tasks of 1,500 steps, width 100) on {workers} "
        f"workers:\n  a run trains {training:.3g} s; {groups:,} groups of {members} compile "
        f"{compiling:.0f} s each (assumed); {rounds} groups on each worker"
        f"\n  {rounds * once / 60:.3g} min on the clock, of which compiling "
        f"{compiling / once:.0%}; each run by itself: "
        f"{-(-runs // workers) * (compiling + training) / 60:.3g} min"
        f"\n  memory: {workers * 0.9:.3g} GB for {workers} processes of 0.9 GB"
        f"\n  It binds: {'compiling' if compiling > members * training else 'the cores'}."
    )


if __name__ == "__main__":
    main()
