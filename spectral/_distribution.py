"""The distribution in which the package is installed."""


def installed_version() -> str:
    """The version of the distribution `spectral-plasticity`.

    **Raises:** `importlib.metadata.PackageNotFoundError` if the package is on the path without
    being installed.
    """
    # Imported here because that takes as long as printing the help of the command line.
    from importlib import metadata

    return metadata.version("spectral-plasticity")
