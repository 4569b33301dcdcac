"""Curvature of transformers: the memory of a spectrum, and Kronecker factors against curvlinops.

    python benchmarks/attention.py memory [--batch-size 8] [--checkpoint] [--sequences 64] [--run]
    python benchmarks/attention.py factors

`memory`: the spectrum of the Hessian of order 80 with one vector, for a `models.GPT` with 10
million parameters on 64 sequences of 128 tokens. `--batch-size` sequences pass together.
`--checkpoint` takes a decoder made of layers of Equinox, which evaluates each block again in the
backward pass instead of keeping its activations. XLA plans the memory of the compiled program, so
the peak is known without running it; the first number is that plan. With `--run` the program runs,
and the last number is the peak resident size of the process, with compilation. Every minute it
prints the peak so far, which is reached in the first products, and the time of the processor. The
number of sequences changes the time and not the memory, because the batches pass one after the
other. A product takes about 1.5e12 operations for 64 sequences.

`factors`: KFAC in float64 on the weights of a small decoder and encoder, against curvlinops, as the
largest difference of a block relative to its largest entry. It needs the extra `benchmarks`.
"""

import argparse
import resource
import threading
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from plain_transformer import Transformer

from spectral import models
from spectral.curvature import Hessian, Lanczos, normalised_epsilon_rank, Risk, SoftmaxCrossEntropy


ORDER = 80
SIZES: Any = {"width": 320, "num_heads": 5}


def checkpointed(key) -> Transformer:
    return Transformer(256, **SIZES, num_blocks=8, context=128, is_checkpointed=True, key=key)


def decoder(key) -> models.GPT:
    return models.GPT(256, 128, **SIZES, depth=8, tied=False, key=key)


def forward(model: Any, inputs):
    outputs = jax.vmap(model)(inputs)
    return outputs[0] if isinstance(model, models.GPT) else outputs


def used() -> str:
    """The peak of the resident size of this process, and its time."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{peak:.2f} GiB at the peak, {time.process_time():.0f} s of the processor"


def report(done: threading.Event) -> None:
    while not done.wait(60):
        print(used(), flush=True)


def memory(batch_size: int, checkpoint: bool, sequences: int, run: bool) -> None:
    make = checkpointed if checkpoint else decoder
    shapes = eqx.filter_eval_shape(make, jax.random.key(0))
    rng = np.random.default_rng(0)
    drawn = lambda s: jnp.asarray(rng.normal(size=s.shape).astype(np.float32) * 0.02)
    model = jax.tree.map(lambda s: drawn(s) if isinstance(s, jax.ShapeDtypeStruct) else s, shapes)
    tokens = jnp.asarray(rng.integers(0, 256, (sequences, 129)))
    inputs, labels = tokens[:, :-1], tokens[:, 1:]
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def spectrum(params):
        loss = SoftmaxCrossEntropy()
        risk = Risk(forward, loss, inputs, labels, batch_size=batch_size)
        hessian = Hessian(risk, eqx.combine(params, static))
        found = Lanczos(order=ORDER, num_vectors=1)(hessian, key=jax.random.key(1))
        return normalised_epsilon_rank(found, 0.1)

    program = jax.jit(spectrum).lower(params).compile()
    plan: Any = program.memory_analysis()
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{size:,} parameters, {sequences} sequences, {batch_size} together, ", end="")
    print(f"checkpoint {checkpoint}: basis {4 * size * ORDER / 2**30:.2f} GiB, planned ", end="")
    print(f"{(plan.temp_size_in_bytes + plan.argument_size_in_bytes) / 2**30:.2f} GiB", flush=True)
    if run:
        began, done = time.perf_counter(), threading.Event()
        threading.Thread(target=report, args=(done,), daemon=True).start()
        rank = jax.block_until_ready(program(params))
        done.set()
        print(f"{used()}, {time.perf_counter() - began:.0f} s on the clock, ", end="")
        print(f"fraction beyond 0.1: {float(rank.value):.2e}")


def factors() -> None:
    # Imported here, because the memory of the other part is that of its process.
    from attention_peers import compare

    for name, kind, sharing, error, size in compare():
        print(f"| {name} | {kind} | {sharing} | {size} | {error:.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("memory", "factors"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--checkpoint", action="store_true")
    parser.add_argument("--run", action="store_true")
    own = parser.parse_args()
    if own.part == "memory":
        memory(own.batch_size, own.checkpoint, own.sequences, own.run)
    else:
        with jax.enable_x64(True):
            factors()


if __name__ == "__main__":
    main()
