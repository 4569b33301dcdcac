"""Speed, memory and accuracy of curvature, compared with curvlinops, PyHessian and matfree.

    python benchmarks/curvature.py [speed] [memory] [accuracy] [--width 100 1000] [--rounds 5]

`speed`: N = 2000 inputs, MLP 784-H-H-H-10, mean softmax cross-entropy. All contenders run in one
process and in turn; times are medians. The time of a product inside Lanczos is the time of a whole
run minus the time of that run with a diagonal matrix, divided by the number of products. The
difference contains no orthogonalisation. The bare row calls `jax.linearize` on the gradient once
and computes the products in a `fori_loop`.

`memory`: the peak resident size of a process that computes a spectrum of order 100 with 3 vectors
for the network with H = 1000 (2,797,010 parameters), including data and compilation.

`accuracy`: the error of the eps-rank for a given number of products, on networks with a known
spectrum (dense, in float64), before and after a run of BP on digits that loses its plasticity.
`Deflated` uses half of the products for its first iteration.

The peers need the extra `benchmarks`, and `pip install --no-deps pyhessian` (it declares packages
that it does not use). Without them their rows are left out. PyHessian calls `torch.eig`, which
PyTorch has removed, so it is replaced by `torch.linalg.eig`.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from curvature_peers import installed, TorchNetwork
from jaxtyping import Array, Float

from spectral import algorithms, models, tasks, train_continual
from spectral.curvature import (
    Deflated,
    Dense,
    epsilon_rank,
    Function,
    GaussNewton,
    Hessian,
    KFAC,
    Lanczos,
    MatfreeLanczos,
    Risk,
    SoftmaxCrossEntropy,
)


EPSILON = 0.1


def forward(model, inputs):
    return jax.vmap(model)(inputs)[0]


def problem(width: int, rows: int = 2000) -> tuple[Risk, models.MLP]:
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (rows, 784))
    labels = jax.random.randint(keys[1], (rows,), 0, 10)
    model = models.MLP(784, 10, width=width, key=keys[2])
    return Risk(forward, SoftmaxCrossEntropy(), inputs, labels), model


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each contender, after one call that compiles."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if repeat:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


@eqx.filter_jit
def bare_products(risk: Risk, model, vector, count: int):
    params, static = eqx.partition(model, eqx.is_inexact_array)
    with jax.default_matmul_precision("highest"):
        _, linear = jax.linearize(jax.grad(lambda p: risk(eqx.combine(p, static))), params)
        return jax.lax.fori_loop(0, count, lambda _, v: linear(v), vector)


@eqx.filter_jit
def products(operator, vector, count: int):
    product = operator.product()
    return jax.lax.fori_loop(0, count, lambda _, v: product(v), vector)


class Diagonal(eqx.Module):
    """The product with a diagonal matrix."""

    entries: Float[Array, " dim"]

    def __call__(self, vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return self.entries * vector


def cheap(dim: int) -> Function:
    """A matrix with nearly free products. Its eigenvalues are distinct, so no Krylov space ends.
    For the identity a space ends at every step, and each restart costs one orthogonalisation."""
    entries = jnp.linspace(1.0, 2.0, dim)
    return Function(Diagonal(entries), entries)


@eqx.filter_jit
def kfac_factors(risk: Risk, model):
    return eqx.filter(KFAC(risk, model).blocks, eqx.is_array)


def speed(width: int, rounds: int, order: int) -> None:
    risk, model = problem(width)
    params = eqx.filter(model, eqx.is_inexact_array)
    hessian, gauss_newton = Hessian(risk, model), GaussNewton(risk, model)
    diagonal = cheap(hessian.dim)
    density = Lanczos(order=order, num_vectors=1)
    key = jax.random.key(1)
    contenders: dict[str, Callable[[], object]] = {
        "bare": lambda: bare_products(risk, model, params, order),
        "lanczos": lambda: density(hessian, key=key).nodes,
        "diagonal": lambda: density(diagonal, key=key).nodes,
        "ggn": lambda: products(gauss_newton, params, order),
        "kfac": lambda: kfac_factors(risk, model),
    }
    if installed("torch", "curvlinops"):
        peer = TorchNetwork(model, risk.inputs, risk.targets)
        contenders["curvlinops hessian"] = peer.curvlinops_product("HessianLinearOperator")
        contenders["curvlinops ggn"] = peer.curvlinops_product("GGNLinearOperator")
        contenders["curvlinops kfac"] = peer.curvlinops_kfac()
    if installed("torch", "pyhessian"):
        peer = TorchNetwork(model, risk.inputs, risk.targets)
        contenders["pyhessian"] = peer.pyhessian_density(order, 1)
    taken = in_turn(contenders, rounds)
    ours = (taken["lanczos"] - taken["diagonal"]) / order
    print(f"\nMLP 784-{width}-{width}-{width}-10, P = {hessian.dim:,}, N = {risk.num_examples}")
    rows = [
        ("Hessian product, bare linearize", taken["bare"] / order, None),
        ("Hessian product inside Lanczos", ours, taken["bare"] / order),
        ("Hessian product, curvlinops", taken.get("curvlinops hessian"), ours),
        ("Gauss-Newton product", taken["ggn"] / order, None),
        ("Gauss-Newton product, curvlinops", taken.get("curvlinops ggn"), taken["ggn"] / order),
        ("KFAC factors", taken["kfac"], None),
        ("KFAC factors, curvlinops", taken.get("curvlinops kfac"), taken["kfac"]),
        (f"density, order {order}, one vector", taken["lanczos"], None),
        ("density, PyHessian", taken.get("pyhessian"), taken["lanczos"]),
    ]
    for name, seconds, reference in rows:
        if seconds is not None:
            ratio = "" if reference is None else f"{seconds / reference:8.2f}"
            print(f"  {name:36s}{1e3 * seconds:10.2f} ms{ratio}")


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
    parser.add_argument("--width", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--order", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - set(parts)):
        parser.error(f"unknown parts {unknown}: choose from {parts}, or pass none for all")
    if "speed" in arguments.parts:
        for width in arguments.width:
            speed(width, arguments.rounds, arguments.order)
    if "memory" in arguments.parts and arguments.here:
        memory(max(arguments.width), order=100, num_vectors=3)
    elif "memory" in arguments.parts:
        # In a separate process, because this one may already have had a higher peak.
        width = str(max(arguments.width))
        command = [sys.executable, __file__, "memory", "--here", "--width", width]
        subprocess.run(command, check=True)
    if "accuracy" in arguments.parts:
        accuracy([10, 20, 40, 80], num_vectors=5, num_tasks=arguments.tasks)


if __name__ == "__main__":
    main()
