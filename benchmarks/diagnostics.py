"""What the probes cost, as multiples of one spectrum of the Hessian and of one gradient.

    python benchmarks/diagnostics.py [--examples 200] [--width 100] [--rounds 5] [--small]

The network is an MLP 64-100-100-100-10 and the data are permuted digits, 200 examples for each
probe. The unit is one spectrum of the Hessian of order 40 with one vector. The second unit is one
gradient over the same examples, computed like the loss of `GradientNorm`. Every probe that
`spectral.probes` exports is timed with its defaults, except that estimators are of this order. All
run in turn in one process, with one thread of BLAS as in the loop, without compilation. The numbers
are CPU time, the smallest of the rounds, so that other work of the machine hardly shows. Probes
that need arguments of their own, such as those that train, are left out and named. Variants are
timed, and are not part of the sum.
"""

import argparse
import inspect
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import threadpoolctl

from spectral import algorithms, Learner, models, probes, tasks
from spectral.curvature import GaussNewton, Lanczos


KEY = jax.random.key(0)
SMALL = Lanczos(order=40, num_vectors=1)


def with_options(kind: type, num_examples: int) -> probes.AbstractProbe | None:
    """A probe of this kind, or `None` if it needs arguments of its own."""
    options = {"num_examples": num_examples, "estimator": SMALL}
    allowed = inspect.signature(kind).parameters
    given = {name: value for name, value in options.items() if name in allowed}
    try:
        return kind(**given)
    except TypeError:
        return None


def found(num_examples: int) -> tuple[dict[str, probes.AbstractProbe], list[str]]:
    """The probes that the package exports, and the names of those that are left out."""
    made: dict[str, probes.AbstractProbe] = {}
    left_out: list[str] = []
    for name in sorted(vars(probes)):
        kind = getattr(probes, name)
        ours = isinstance(kind, type) and issubclass(kind, probes.AbstractProbe)
        if not ours or inspect.isabstract(kind) or name.startswith("Abstract"):
            continue
        probe = with_options(kind, num_examples)
        if probe is None:
            left_out.append(name)
        else:
            made[name] = probe
    # The second matrix belongs to the diagnostics.
    made["CurvatureRanks of GaussNewton"] = probes.CurvatureRanks(
        num_examples=num_examples, estimator=SMALL, matrix=GaussNewton
    )
    return made, left_out


def variants(num_examples: int) -> dict[str, probes.AbstractProbe]:
    kernel, redundancy = probes.NeuralTangentKernel, probes.LocalRedundancy
    few = num_examples // 4
    return {
        "LocalRedundancy, expectation": redundancy(num_examples=num_examples, num_labels=None),
        f"NeuralTangentKernel, all outputs, {few} examples": kernel(
            num_examples=few, all_outputs=True
        ),
    }


def prepared(probe: Any, learner: Learner, stream: Any, state: Any) -> Callable[[], Any]:
    """The compiled probe with its arguments."""
    known = inspect.signature(type(probe).__call__).parameters
    boundary = probes.Boundary(jnp.asarray(2), KEY, KEY)
    given = {"boundary": boundary, "initial": learner.model}
    extra = {name: value for name, value in given.items() if name in known}
    call = eqx.filter_jit(lambda p, *args, **rest: p(*args, key=KEY, **rest))
    run = lambda: jax.block_until_ready(call(probe, learner, stream, state, **extra))
    run()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="Times every probe.")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tiny network, as a test")
    arguments = parser.parse_args()
    num_examples, width, depth, rounds = arguments.examples, arguments.width, 3, arguments.rounds
    if arguments.small:
        num_examples, width, depth, rounds = 20, 4, 1, 1
    images = tasks.load_images("digits")
    stream = tasks.PermutedImages(images, num_tasks=3, steps_per_task=1500)
    model = models.MLP(64, 10, width=width, depth=depth, key=KEY)
    optimiser = algorithms.bp(0.01).optimiser.init(model)
    learner, state = Learner(model, None, optimiser), stream.init(key=KEY)

    chosen, left_out = found(num_examples)
    others = variants(num_examples)
    runs, failed = {}, {}
    for name, probe in (chosen | others).items():
        try:
            runs[name] = prepared(probe, learner, stream, state)
        except (TypeError, ValueError) as error:
            failed[name] = str(error).splitlines()[0][:70]
    times: dict[str, list[float]] = {name: [] for name in runs}
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        for _ in range(rounds):
            for name, run in runs.items():
                began = time.process_time()
                run()
                times[name].append(time.process_time() - began)
    costs = {name: min(seconds) for name, seconds in times.items()}
    spectrum, gradient = costs["HessianSpectrum"], costs["GradientNorm"]
    print(f"one spectrum {1e3 * spectrum:.1f} ms, one gradient {1e3 * gradient:.2f} ms\n")
    print("| probe | ms | spectra | gradients |\n|---|---|---|---|")
    for name, seconds in sorted(costs.items(), key=lambda pair: -pair[1]):
        star = " *" if name in others else ""
        row = f"{1e3 * seconds:.2f} | {seconds / spectrum:.3f} | {seconds / gradient:.1f}"
        print(f"| `{name}`{star} | {row} |")
    total = sum(seconds for name, seconds in costs.items() if name not in others)
    print(f"| all together | {1e3 * total:.1f} | {total / spectrum:.2f} | {total / gradient:.0f} |")
    print("\n* a variant, not part of the sum")
    for name in left_out:
        print(f"left out: {name} needs arguments of its own")
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}")


if __name__ == "__main__":
    main()
