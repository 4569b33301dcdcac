"""NumPy integers are integers everywhere: as constants of a program they become those of Python."""

import dataclasses
import inspect
import json
import subprocess
import sys

import equinox as eqx
import numpy as np
import pytest

from spectral import algorithms, curvature, models, probes, tasks, theory
from spectral._arguments import as_int, as_int_or_none, as_ints


CONVERTERS = (as_int, as_int_or_none, as_ints)
KINDS = ("int", "int | None", "tuple[int, ...]", "Count", "Count | None")


def module_classes():
    for room in (algorithms, curvature, models, probes, tasks, theory):
        for found in vars(room).values():
            if inspect.isclass(found) and issubclass(found, eqx.Module):
                yield found


def test_every_static_integer_is_converted():
    missing = {
        f"{cls.__name__}.{field.name}"
        for cls in module_classes()
        for field in dataclasses.fields(cls)
        if field.metadata.get("static") and field.init
        if inspect.formatannotation(field.type).strip("'") in KINDS
        if field.metadata.get("converter") not in CONVERTERS
    }
    assert not missing


def test_tuples_of_integers():
    found = as_ints((np.int64(2), 3))
    assert found == (2, 3)
    assert [type(n) for n in found] == [int, int]


# Constructors with integers `n(...)`. They run in a process of their own, without the type checker
# of the tests, which is stricter than the library.
CALLS = """
algorithms.Periodic(algorithms.EffectiveRank(lr=1e-3, window=n(5)), period=n(5))
algorithms.er(.1, er_period=n(6), er_window=n(3))
algorithms.cbp(.1, maturity=n(5))
algorithms.cpr(.1, period=n(5))
algorithms.snr(.1, max_age=n(5))
algorithms.redo(.1, period=n(3))
algorithms.dash(.1, batch_size=n(5), num_batches=n(2))
algorithms.c_chain(.1, window=n(5))
algorithms.fire(.1, iterations=n(5))
algorithms.snp(.1, period=n(2))
algorithms.StepDecay(factor=.5, chunks=(n(3), n(5)))
algorithms.WarmupCosine(peak=.1, warmup_steps=n(3), decay_steps=n(5))
algorithms.ShrinkPerturb(shrink=.9, noise=.1, steps=n(3))
algorithms.HareTortoise(period=n(3))
algorithms.SelectiveReinit(window=n(4))
models.MLP(n(4), n(3), width=n(5), depth=n(2), layer_norm=True, key=key)
models.ActorCritic(n(4), n(3), width=n(5), depth=n(2), key=key)
models.ConvNet((n(1), n(8), n(8)), n(3), channels=(n(2),), kernels=(n(3),), \
    dense_sizes=(n(4),), key=key)
models.ResNet18((n(3), n(8), n(8)), n(2), width=n(2), blocks=(n(1),), dense_sizes=(n(3),), key=key)
models.Convolution(n(1), n(2), n(3), stride=n(1), key=key)
tasks.PermutedImages(images, num_tasks=n(3), steps_per_task=n(10), minibatch_size=n(2))
tasks.SplitClasses(images, classes_per_task=n(2), num_tasks=n(3))
tasks.SlowlyChangingRegression(num_tasks=n(3))
tasks.Loader(epochs=n(2), minibatch_size=n(4))
tasks.fewer_images(images, train_per_class=n(5))
tasks.Revisit(tasks.Cycle((.5, 1.)), period=n(2))
probes.HessianSpectrum(every=n(2), num_examples=n(10), num_resamples=n(2), batch_size=n(5), \
    estimator=curvature.Lanczos(order=n(4), num_vectors=n(2)))
probes.DeadUnits(num_examples=n(10), every=n(2))
probes.Retention(num_past=n(2))
probes.WeightNorm(every=n(2))
curvature.Chebyshev(order=n(10), range_order=n(5))
curvature.Risk(outputs, curvature.SoftmaxCrossEntropy(ignore_label=n(-1)), ones, labels, \
    batch_size=n(2))
curvature.Sampled(key, num_samples=n(2))
curvature.Inverse(curvature.Matrix(jnp.eye(2)), 1.0, max_steps=n(5))
theory.TrainabilityForecast(lr=.1, target=.1, steps=n(5), num_examples=n(4))
"""
PROGRAM = """
import json, sys, warnings
import jax, jax.numpy as jnp, numpy as np
from spectral import algorithms, curvature, models, probes, tasks, theory

n, key, images = np.int64, jax.random.key(0), tasks.load_images("digits")
outputs, ones, labels = (lambda p, x: x @ p), jnp.ones((4, 2)), jnp.zeros(4, int)
wrong = {}
for call in json.load(sys.stdin):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            eval(call)
        except Exception as error:
            wrong[call] = f"{type(error).__name__}: {error}"
print(json.dumps(wrong))
"""


@pytest.mark.slow
def test_constructors_take_them_without_a_warning():
    calls = CALLS.replace("\\\n", " ").strip().splitlines()
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout.splitlines()[-1]) == {}
