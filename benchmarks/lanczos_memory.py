"""The memory, the time and the error of `Lanczos` with and without orthogonalisation.

    python benchmarks/lanczos_memory.py [cheap] [network] [error] [--size 1e8] [--order 20]

`cheap`: a diagonal matrix with this many rows. `network`: the Hessian of an MLP with 25 million
parameters on 200 examples. Each row is a process of its own. `vectors` is by how much its resident
size grows at most while the compiled iteration runs, in vectors of the size of the parameters. The
second number is what one product takes by itself, in the plan of XLA.

`error`: spectra of 2,000 eigenvalues in float32, on a diagonal matrix, against the distribution of
the same random vector. `gap` is the largest error of the mass below the middle of a gap of at least
a thousandth of the range, `distance` the area between the two cumulative distributions divided by
the range.
"""

import argparse
import subprocess
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from spectral import models
from spectral.curvature import (
    AbstractOperator,
    AbstractOrthogonalisation,
    Full,
    Function,
    Hessian,
    Lanczos,
    NoOrthogonalisation,
    Risk,
    SoftmaxCrossEntropy,
    Sphere,
    vector_key,
)


KEY = jax.random.key(1)
FORMS: dict[str, AbstractOrthogonalisation] = {"full": Full(), "none": NoOrthogonalisation()}


class Diagonal(eqx.Module):
    """The product with a diagonal matrix."""

    entries: Float[Array, " dim"]

    def __call__(self, vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return self.entries * vector


def forward(model, inputs):
    return jax.vmap(model)(inputs)[0]


def operator(kind: str, size: int) -> AbstractOperator:
    if kind == "cheap":
        entries = jnp.asarray(np.arange(size, dtype=np.float32) / size + 1)
        return Function(Diagonal(entries), entries)
    keys = jax.random.split(jax.random.key(0), 3)
    width = round((size / 2) ** 0.5)
    model = models.MLP(784, 10, width=width, key=keys[2])
    inputs = jax.random.normal(keys[0], (200, 784))
    labels = jax.random.randint(keys[1], (200,), 0, 10)
    return Hessian(Risk(forward, SoftmaxCrossEntropy(), inputs, labels), model)


def resident(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def planned(matrix: AbstractOperator) -> int:
    """Bytes that XLA plans for one product of the linear map, its result included."""
    vector = jnp.zeros(matrix.dim)
    arrays, rest = eqx.partition(matrix, eqx.is_array)
    product = lambda a, v: eqx.combine(a, rest).flat_product()(v)
    plan = jax.jit(product).lower(arrays, vector).compile().memory_analysis()
    assert plan is not None
    return plan.temp_size_in_bytes + plan.output_size_in_bytes


def measure(kind: str, form: str, size: int, order: int) -> None:
    lanczos = Lanczos(order=order, num_vectors=1, orthogonalisation=FORMS[form])
    matrix = jax.block_until_ready(operator(kind, size))
    compiled: Any = eqx.filter_jit(lambda m: lanczos(m, key=KEY))
    estimate = compiled.lower(matrix).compile()
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before, start = resident("VmRSS"), time.perf_counter()
    jax.block_until_ready(estimate(matrix))
    taken = time.perf_counter() - start
    vectors = (resident("VmHWM") - before) / (4 * matrix.dim)
    own = planned(matrix) / (4 * matrix.dim) if kind == "network" else 1.0
    print(
        f"{kind:8s} P = {matrix.dim:11,d}, order {order:3d}, {form}: {vectors:6.2f} vectors, of "
        f"which the product {own:5.2f}; {taken:6.1f} s"
    )


SPECTRA = {
    "rank 9": np.r_[-4, np.linspace(2, 23.15, 8), np.zeros(1991)],
    "two clusters": np.r_[np.full(1000, 3.0), np.full(1000, -1.0)],
    "11 outliers to 1e4": np.r_[np.geomspace(1, 1e4, 11), np.zeros(1989)],
    "Strakos": np.repeat(0.1 + np.arange(25) / 24 * 99.9 * 0.8 ** np.arange(24, -1, -1), 80),
    "25 outliers, bulk": np.r_[
        -np.geomspace(1, 20, 5), np.geomspace(1, 1000, 20), np.linspace(-0.02, 0.05, 1975)
    ],
    "bulk": np.linspace(-1, 1.2, 2000),
}


def errors(eigenvalues: np.ndarray, form: str, order: int) -> tuple[float, float]:
    values = eigenvalues.astype(np.float32)
    entries = jnp.asarray(values)
    lanczos = Lanczos(order=order, num_vectors=1, orthogonalisation=FORMS[form])
    spectrum = lanczos(Function(Diagonal(entries), entries), key=KEY)
    start = Sphere()(values.size, np.float32, key=vector_key(KEY, 0))
    nodes, weights = (np.asarray(x[0], float) for x in spectrum.quadrature())
    exact, mass = values.astype(float), np.asarray(start, float) ** 2

    def below(points: np.ndarray) -> np.ndarray:
        ours = (weights * (nodes <= points[:, None])).sum(1)
        return np.abs(ours - (mass * (exact <= points[:, None])).sum(1))

    distinct = np.unique(exact)
    wide = np.diff(distinct) > 1e-3 * np.ptp(distinct)
    gap = below((distinct[1:] + distinct[:-1])[wide] / 2).max(initial=0)
    points = np.sort(np.r_[nodes, exact])
    return gap, (below(points[:-1]) * np.diff(points)).sum() / np.ptp(distinct)


def error(orders: list[int]) -> None:
    for name, eigenvalues in SPECTRA.items():
        for order in orders:
            found = {form: errors(eigenvalues, form, order) for form in FORMS}
            row = "   ".join(f"{f}: gap {g:.0e} distance {d:.0e}" for f, (g, d) in found.items())
            print(f"{name:20s} order {order:3d}   {row}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Lanczos with and without orthogonalisation.")
    parts = ["cheap", "network", "error"]
    parser.add_argument("parts", nargs="*", default=parts, metavar=f"[{' '.join(parts)}]")
    parser.add_argument("--size", type=float, help="rows of the matrix")
    parser.add_argument("--order", type=int, default=20)
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - set(parts)):
        parser.error(f"unknown parts {unknown}: choose from {parts}, or pass none for all")
    for kind, default in (("cheap", 1e8), ("network", 2.5e7)):
        size = int(arguments.size or default)
        if kind in arguments.parts and arguments.form:
            measure(kind, arguments.form, size, arguments.order)
        elif kind in arguments.parts:
            # `Full` at this size would take the memory of the basis: it has a tenth of the rows.
            for form, rows in (("none", size), ("full", size // 10)):
                options = ["--form", form, "--size", str(rows), "--order", str(arguments.order)]
                subprocess.run([sys.executable, __file__, kind, *options], check=True)
    if "error" in arguments.parts:
        error([20, 60, 100, 200])


if __name__ == "__main__":
    main()
