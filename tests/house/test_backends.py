"""Importing the package starts nothing."""

import os
import pathlib
import subprocess
import sys


ROOT = pathlib.Path(__file__).parents[2]
# All public names of all rooms. JAX must not have started afterwards, because
# `jax.distributed.initialize` and the number of host devices come before that.
CODE = """
import importlib, pathlib
import spectral
from jax._src import xla_bridge
for name in spectral.__all__:
    getattr(spectral, name)
    assert not xla_bridge.backends_are_initialized(), f"spectral.{name}"
for path in sorted(pathlib.Path(spectral.__file__).parent.glob("[a-z]*/__init__.py")):
    room = importlib.import_module(f"spectral.{path.parent.name}")
    for name in dir(room):
        getattr(room, name)
    assert not xla_bridge.backends_are_initialized(), room.__name__
import jax.numpy
jax.numpy.zeros(1)
assert xla_bridge.backends_are_initialized()  # the question is the right one
"""


def test_imports_start_no_backend():
    paths = (str(ROOT), os.environ.get("PYTHONPATH"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-c", CODE], stderr=subprocess.PIPE, env=environment)
    assert done.returncode == 0, done.stderr.decode()
