"""Measurements as JSON, with the machine, the versions and the commit."""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import jax

from timing.runner import Measured


PACKAGES = (
    "spectral-plasticity",
    "jax",
    "jaxlib",
    "equinox",
    "numpy",
    "scipy",
    "matfree",
    "torch",
    "curvlinops-for-pytorch",
    "hessian-eigenthings",
    "pyhessian",
    "gymnasium",
)


def circumstances() -> dict[str, Any]:
    """The machine, the versions of this library and of its peers, and the commit."""
    devices = jax.devices()
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": _asked("git", "rev-parse", "HEAD"),
        "changed": bool(_asked("git", "status", "--porcelain", "-uno")),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.platform(),
            "device": f"{devices[0].platform}: {devices[0].device_kind}",
            "load": os.getloadavg(),  # of the last 1, 5 and 15 minutes
        },
        "versions": {"python": platform.python_version()}
        | {name: version for name in PACKAGES if (version := _version(name)) is not None},
    }


def save(path: pathlib.Path, measured: Iterable[Measured], **more: Any) -> None:
    """Write measurements to a file, with the circumstances."""
    cases = [dataclasses.asdict(case) for case in measured]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(circumstances() | more | {"cases": cases}, indent=1) + "\n")


def load(path: pathlib.Path) -> tuple[dict[str, Any], list[Measured]]:
    """The circumstances in a file, and its measurements."""
    known = json.loads(path.read_text())
    return known, [Measured(**case) for case in known.pop("cases")]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _asked(*command: str) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
