"""Time and memory of products with data on disk, and with data divided over devices.

    python benchmarks/scale.py disk [--num-examples 100000] [--rounds 7]
    python benchmarks/scale.py devices [--num-devices 2] [--rounds 7]

The network is an MLP 784-64-64-10 with tanh (55,050 parameters), the product is that of the
Gauss-Newton matrix. `disk` compares arrays in memory with `Batches` of a `numpy.memmap`, 1,000
examples in a pass, each in a process of its own for its peak resident size. `devices` compares one
host device with several, in turn, in one process.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time


WIDTH, BATCH = 64, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=("disk", "devices", "one"))
    parser.add_argument("--num-examples", type=int, default=100_000)
    parser.add_argument("--num-devices", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--where", choices=("memory", "disk"), default="memory")
    parser.add_argument("--folder", type=pathlib.Path)
    given = parser.parse_args()
    if given.work == "devices":
        # JAX reads the number when it starts.
        os.environ["JAX_NUM_CPU_DEVICES"] = str(given.num_devices)
        devices(given)
    elif given.work == "one":
        one_place(given)
    else:
        disk(given)


def disk(given: argparse.Namespace) -> None:
    """Each place in a process of its own."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        shape = given.num_examples, 784
        file = pathlib.Path(folder) / "inputs.npy"
        inputs = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        for first in range(0, given.num_examples, BATCH):
            rows = inputs[first : first + BATCH]
            rows[:] = rng.normal(size=rows.shape)
        inputs.flush()
        for where in ("memory", "disk"):
            options = ["--where", where, "--folder", folder, "--rounds", str(given.rounds)]
            subprocess.run([sys.executable, __file__, "one", *options], check=True)


def one_place(given: argparse.Namespace) -> None:
    import equinox as eqx
    import numpy as np

    from spectral.curvature import Batches, GaussNewton, Risk, SoftmaxCrossEntropy

    inputs = np.load(given.folder / "inputs.npy", mmap_mode="r")
    labels = np.arange(len(inputs)) % 10
    began = time.perf_counter()
    if given.where == "disk":
        examples = Batches.of_arrays(inputs, labels, batch_size=BATCH)
        risk = Risk.of(forward, SoftmaxCrossEntropy(), examples)
    else:
        risk = Risk(forward, SoftmaxCrossEntropy(), inputs, labels, batch_size=BATCH)
    prepared = time.perf_counter() - began
    params = network()
    product = eqx.filter_jit(lambda operator, vector: operator.product()(vector))
    operator = GaussNewton(risk, params)
    seconds = [timed(product, operator, params) for _ in range(given.rounds + 1)][1:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{given.where}: {statistics.median(seconds):.3f} s a product "
        f"({min(seconds):.3f} to {max(seconds):.3f}), {prepared:.1f} s to prepare, "
        f"peak resident size {peak:.2f} GiB, data {inputs.nbytes / 2**30:.2f} GiB"
    )


def devices(given: argparse.Namespace) -> None:
    import equinox as eqx
    import jax
    import numpy as np

    from spectral.curvature import GaussNewton, Risk, Sharded, SoftmaxCrossEntropy

    num_examples = min(given.num_examples, 20_000)
    inputs = np.random.default_rng(0).normal(size=(num_examples, 784)).astype(np.float32)
    labels, params = np.arange(num_examples) % 10, network()
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("examples",))
    loss = SoftmaxCrossEntropy()
    risks = {
        "one device": Risk(forward, loss, inputs, labels, batch_size=BATCH),
        f"{mesh.size} devices": Risk.of(
            forward, loss, Sharded(inputs, labels, mesh=mesh), batch_size=BATCH
        ),
    }
    product = eqx.filter_jit(lambda operator, vector: operator.product()(vector))
    operators = {name: GaussNewton(risk, params) for name, risk in risks.items()}
    rounds = [
        {name: timed(product, operator, params) for name, operator in operators.items()}
        for _ in range(given.rounds + 1)
    ][1:]
    for name, operator in operators.items():
        seconds = [r[name] for r in rounds]
        text = jax.jit(operator.product()).lower(params).compile().as_text() or ""
        print(
            f"{name}: {statistics.median(seconds):.3f} s a product "
            f"({min(seconds):.3f} to {max(seconds):.3f}), {text.count(' all-reduce(')} all-reduces"
        )


def forward(params, inputs):
    import jax.numpy as jnp

    *hidden, last = params
    for weight, bias in hidden:
        inputs = jnp.tanh(inputs @ weight + bias)
    return inputs @ last[0] + last[1]


def network():
    import jax
    import jax.numpy as jnp

    sizes = (784, WIDTH, WIDTH, 10)
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    return [
        (jax.random.normal(k, (m, n)) / m**0.5, jnp.zeros(n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def timed(product, operator, vector) -> float:
    import jax

    began = time.perf_counter()
    jax.block_until_ready(product(operator, vector))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
