"""The distribution `spectral-plasticity`: its version, and its command `spectral`.

The command is outside the package, because another distribution can replace files of the package:
the library for hyperspectral imaging is called `spectral`, and both are imported under this name.
"""

import sys
from importlib import metadata


def main() -> int:
    """Run the command line and return its exit status, 2 if the other library is installed."""
    if message := conflict():
        print(f"spectral: {message}", file=sys.stderr)
        return 2
    from spectral.studies.command_line._main import main as run

    return run()


def installed_version() -> str:
    """The version of the distribution.

    **Raises:** `importlib.metadata.PackageNotFoundError` if the package is on the path without
    being installed.
    """
    return metadata.version("spectral-plasticity")


def conflict() -> str | None:
    """A message if the library for hyperspectral imaging is installed as well; otherwise `None`."""
    try:
        version = metadata.version("spectral")
    except metadata.PackageNotFoundError:
        return None
    return (
        f"this environment also has the distribution 'spectral' {version}, a library for "
        "hyperspectral imaging. It writes to the same folder as 'spectral-plasticity', and each "
        "replaces files of the other. An environment can hold only one of the two: run `pip "
        "uninstall spectral spectral-plasticity` and install one again, or make an environment for "
        "each."
    )
