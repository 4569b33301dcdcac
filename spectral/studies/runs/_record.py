"""The record of a run: versions, devices, commit and command."""

import datetime
import pathlib
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from typing import Any

import jax

from spectral_plasticity import installed_version

from .protection._numerics import NUMERICS, numerics


_PACKAGES = ("jax", "equinox", "optax", "numpy")


def circumstances() -> dict[str, Any]:
    """The versions, options of JAX, devices, commit, command and time of a run that starts now."""
    devices = jax.devices()
    program = pathlib.Path(sys.argv[0]).name
    return {
        "spectral": installed_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        NUMERICS: numerics(),
        "device": f"{devices[0].platform}: {devices[0].device_kind}",
        "devices": len(devices),
        "commit": _commit(),
        "command": shlex.join([program, *sys.argv[1:]]),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The git commit of the working directory, with a plus if tracked files have changed since;
    `None` outside a repository."""
    ask = lambda *words: subprocess.run(["git", *words], capture_output=True, text=True, timeout=10)
    try:
        commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "-uno")
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")
