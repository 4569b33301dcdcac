import functools
import json
import os
import pathlib
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import tiny_images

from spectral import algorithms, models, Optimiser, probes, tasks
from spectral.recording._fingerprint import difference, fingerprint


ROOT = pathlib.Path(__file__).parents[2]


def scaled(factor):
    return lambda x: factor * x


class Power:
    def __init__(self, n):
        self.n = n

    def __call__(self, x):
        return x**self.n

    def raised(self, x):
        return x**self.n


def sgd(**options):
    return Optimiser(optax.sgd, learning_rate=0.1, **options)


def keyword(default):
    return eval("lambda *, n=default: n", {"default": default})


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (algorithms.bp(0.1), algorithms.bp(0.2), "optimiser.hyper.learning_rate"),
        (algorithms.er(er_period=50), algorithms.er(), "transforms.0.period"),
        (algorithms.bp(), algorithms.l2(), "penalties.0.type"),
        (sgd(), Optimiser(optax.adam, learning_rate=0.1), "make"),
        (sgd(nesterov=True), sgd(), "options.0.0"),
        (probes.DeadUnits(), probes.DeadUnits(when=("end",)), "when.0"),
        ({"key": jax.random.key(0)}, {"key": jax.random.key(1)}, "key"),
        ({"x": jnp.zeros(3)}, {"x": jnp.zeros(3, int)}, "x"),
        ({"x": np.arange(3)}, {"x": np.array([0, 1, 3])}, "x"),
        ({"f": scaled(2)}, {"f": scaled(3)}, "f.closure.0.0"),
        ({"f": lambda x: x + 1}, {"f": lambda x: x - 1}, "f.code"),
        ({"f": lambda x: jnp.tanh(x)}, {"f": lambda x: jnp.sin(x)}, "f.closure.2.1"),
        ({"f": jax.jit(lambda x: x + 1)}, {"f": jax.jit(lambda x: x * 3)}, "f.wrapped.closure.1.1"),
        ({"f": Power(1)}, {"f": Power(2)}, "f.n"),
        ({"f": Power(1).raised}, {"f": Power(2).raised}, "f.self.n"),
        ({"f": keyword(1)}, {"f": keyword(2)}, "f.closure.3.1.n"),
        ({"f": functools.partial(max, 1)}, {"f": functools.partial(max, 2)}, "f.1.0"),
        ({"a": optax.EmptyState()}, {"a": None}, "a.length"),
        ({"a": False}, {}, "a"),
    ],
)
def test_difference_names_the_part(old, new, path):
    message = difference(fingerprint(old), fingerprint(new))
    assert message is not None
    assert message.startswith(f"`{path}`")
    assert difference(fingerprint(old), fingerprint(old)) is None


def test_absent_parts_equal_none():
    """Options that a later version brings are absent in older checkpoints."""
    old, new = fingerprint({"a": 1}), fingerprint({"a": 1, "b": None})
    assert difference(old, new) is difference(new, old) is None


def everything():
    norm, state = eqx.nn.make_with_state(models.BatchNorm)(5)
    return {
        "stream": tasks.PermutedImages(tiny_images(), num_tasks=3, steps_per_task=16),
        "model": (norm, state),
        "algorithm": algorithms.l2_er(),
        "probes": {"hessian": probes.HessianSpectrum()},
        "function": scaled(3),
    }


def test_fingerprint_is_equal_in_another_process():
    # By its path: some packages install a package `tests` of their own.
    code = f"""
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location({__name__!r}, {__file__!r})
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(module.fingerprint(module.everything())))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    program = [sys.executable, "-c", code]
    done = subprocess.run(
        program, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    other = json.loads(done.stdout.splitlines()[-1])
    assert difference(other, fingerprint(everything())) is None
    assert len(other) > 40
