"""What a run notes about itself: versions, devices, the commit, the command."""

import datetime
import pathlib
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from typing import Any

import jax


_PACKAGES = ("jax", "equinox", "optax", "numpy")


def circumstances() -> dict[str, Any]:
    """Under which a run begins."""
    devices = jax.devices()
    program = pathlib.Path(sys.argv[0]).name
    return {
        "spectral": metadata.version("spectral-plasticity"),
        **{package: metadata.version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "device": f"{devices[0].platform}: {devices[0].device_kind}",
        "devices": len(devices),
        "commit": _commit(),
        "command": shlex.join([program, *sys.argv[1:]]),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """Of the folder in which the run is started, with a plus if files in it have changed since."""
    ask = lambda *words: subprocess.run(["git", *words], capture_output=True, text=True, timeout=10)
    try:
        commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "-uno")
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")
