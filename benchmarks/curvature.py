"""Speed, memory and accuracy of curvature, compared with curvlinops, PyHessian and matfree.

    python benchmarks/curvature.py [speed] [memory] [accuracy] [--quick] [--small]

`speed`: N = 2000 inputs, MLP 784-H-H-H-10, mean softmax cross-entropy, H = 100 and 1000 (`--quick`:
100). The products of this library and the bare ones, which call `jax.linearize` on the gradient
once, are computed in a loop of 10. Peers compute a product by itself; PyHessian keeps the graph of
the gradient.

`memory`: the peak resident size of a process that computes a spectrum of order 100 with 3 vectors
for the network with H = 1000 (2,797,010 parameters), including data and compilation.

`accuracy`: the error of the eps-rank for a given number of products, on networks with a known
spectrum (dense, in float64), before and after a run of BP on digits that loses its plasticity.
`Deflated` uses half of the products for its first iteration.

The peers need the extra `benchmarks`. Without it their rows are left out. PyHessian calls
`torch.eig`, which PyTorch has removed, so it is replaced by `torch.linalg.eig`.
"""

import argparse
import resource
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from curvature_peers import installed, TorchNetwork
from curvature_speed import cases, forward, problem
from timing.command import add_options, time_cases

from spectral import algorithms, models, tasks, train_continual
from spectral.curvature import (
    Deflated,
    Dense,
    epsilon_rank,
    Hessian,
    Lanczos,
    MatfreeLanczos,
    Risk,
    SoftmaxCrossEntropy,
)


EPSILON = 0.1


def memory(width: int, order: int, num_vectors: int) -> None:
    risk, model = problem(width)
    spectrum = Lanczos(order=order, num_vectors=num_vectors)(
        Hessian(risk, model), key=jax.random.key(1)
    )
    largest = float(jnp.max(spectrum.nodes))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\norder {order}, {num_vectors} vectors, P = {spectrum.dim:,}: peak {peak:.2f} GiB "
        f"(largest node {largest:.3g})"
    )


def trained(num_tasks: int, seed: int) -> tuple[Risk, models.MLP]:
    """A small network after a run of BP on digits, at the start of the next task."""
    stream = tasks.PermutedImages(
        tasks.load_images("digits"), num_tasks=max(num_tasks, 1), steps_per_task=1500
    )
    model = models.MLP(64, 10, width=32, depth=2, key=jax.random.key(seed))
    if num_tasks:
        learner, _ = train_continual(
            model, stream, algorithms.bp(lr=0.1), key=jax.random.key(seed + 1)
        )
        model = learner.model
    pixels = stream.images.train_images[:300].reshape(300, -1)
    inputs = (pixels - stream.shift) / stream.scale
    order = jax.random.permutation(jax.random.key(seed + 2), 64)
    labels = stream.images.train_labels[:300]
    return Risk(forward, SoftmaxCrossEntropy(), inputs[:, order], labels), model


def exact_rank(risk: Risk, model: models.MLP) -> tuple[int, int]:
    """The number of eigenvalues beyond epsilon, in double precision, and the dimension."""
    with jax.enable_x64(True):
        double = lambda tree: jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), float) if eqx.is_inexact_array(x) else x, tree
        )
        spectrum = Dense()(Hessian(double(risk), double(model)), key=jax.random.key(0))
        return round(float(epsilon_rank(spectrum, EPSILON).value)), spectrum.dim


def estimators(order: int, num_vectors: int) -> dict[str, Lanczos | Deflated | MatfreeLanczos]:
    """The estimators to compare, each with `order * num_vectors` products."""
    rest = order // 2
    first = (order - rest) * num_vectors
    return {
        "Lanczos": Lanczos(order=order, num_vectors=num_vectors),
        "Deflated": Deflated(order=rest, num_vectors=num_vectors, deflation_order=first),
        "MatfreeLanczos": MatfreeLanczos(order=order, num_vectors=num_vectors),
    }


def accuracy(orders: list[int], num_vectors: int, num_tasks: int) -> None:
    print(f"\neps-rank at {EPSILON}, digits, MLP 64-32-32-10, 300 examples, {num_vectors} vectors")
    header = f"{'':24s}{'products':>9s}{'exact':>8s}{'estimate':>10s}{'error':>9s}{'sem':>8s}"
    for name, count in {"initial": 0, f"after {num_tasks} tasks of BP": num_tasks}.items():
        risk, model = trained(count, seed=0)
        truth, dim = exact_rank(risk, model)
        print(f"{name}: {dim} parameters\n{header}{'bracket':>18s}")
        for order in orders:
            for label, estimator in estimators(order, num_vectors).items():
                rank = epsilon_rank(estimator(Hessian(risk, model), key=jax.random.key(5)), EPSILON)
                row(label, order * num_vectors, truth, float(rank.value), float(rank.sem))
                print(f"  [{float(rank.lower):7.1f},{float(rank.upper):7.1f}]")
            if installed("torch", "pyhessian"):
                peer = TorchNetwork(model, risk.inputs, risk.targets)
                nodes, weights = peer.pyhessian_density(order, num_vectors)()
                seen = dim * np.sum(weights * (np.abs(nodes) > EPSILON), axis=1)
                row(
                    "PyHessian",
                    order * num_vectors,
                    truth,
                    seen.mean(),
                    seen.std(ddof=1) / num_vectors**0.5,
                )
                print()


def row(label: str, count: int, truth: int, value: float, sem: float) -> None:
    error = f"{value - truth:+.1f}"
    print(f"  {label:22s}{count:9d}{truth:8d}{value:10.1f}{error:>9s}{sem:8.1f}", end="")


def main() -> None:
    parser = argparse.ArgumentParser(description="Curvature: speed, memory and accuracy.")
    parts = ["speed", "memory", "accuracy"]
    parser.add_argument("parts", nargs="*", default=parts, metavar=f"[{' '.join(parts)}]")
    add_options(parser)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := sorted(set(given.parts) - set(parts)):
        parser.error(f"unknown parts {unknown}: choose from {parts}, or pass none for all")
    width, order, vectors, num_tasks = (1000, 100, 3, 100)
    if given.quick:
        width, num_tasks = 100, 20
    if given.small:
        width, order, vectors, num_tasks = 4, 4, 2, 1
    if "speed" in given.parts:
        time_cases(cases(quick=given.quick, small=given.small), given)
    if "memory" in given.parts and given.here:
        memory(width, order, vectors)
    elif "memory" in given.parts:
        # In a separate process, because this one may already have had a higher peak.
        sizes = [f"--{name}" for name in ("quick", "small") if getattr(given, name)]
        command = [sys.executable, __file__, "memory", "--here", *sizes]
        subprocess.run(command, check=True)
    if "accuracy" in given.parts:
        orders = [4] if given.small else [10, 20, 40, 80]
        accuracy(orders, num_vectors=2 if given.small else 5, num_tasks=num_tasks)


if __name__ == "__main__":
    main()
