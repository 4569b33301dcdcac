"""The software that all machines of a cluster must have in the same versions."""

import hashlib
import pathlib
import platform
from collections.abc import Mapping
from importlib import metadata

from spectral_plasticity import installed_version


_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy")
_SOURCE = "source of spectral"


def software() -> dict[str, str]:
    """The versions on which the numbers of a run depend, and a hash of the source of this
    package, which differs between two commits of one version."""
    root = pathlib.Path(__file__).parents[3]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return {
        "spectral-plasticity": installed_version(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{package: metadata.version(package) for package in _PACKAGES},
        _SOURCE: digest.hexdigest()[:16],
    }


def other_software(wanted: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """A phrase for the first version that differs; `None` if all are equal."""
    for name in (*wanted, *found):
        theirs, ours = found.get(name), wanted.get(name)
        if theirs != ours:
            return f"has {name} {theirs}, but this process has {ours}"
    return None
