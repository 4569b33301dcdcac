"""What is installed: the version of this package, and another package of the same name.

The metadata of distributions is imported when it is read, because that takes as long as printing
the help of the command line.
"""


def installed_version() -> str:
    """The version of the distribution `spectral-plasticity`.

    **Raises:** `importlib.metadata.PackageNotFoundError` if the package was not installed, but only
    put on the path.
    """
    from importlib import metadata

    return metadata.version("spectral-plasticity")


def conflict() -> str | None:
    """A message if the library for hyperspectral imaging is installed as well; otherwise `None`.

    Its distribution is called `spectral`. Both distributions write to the folder `spectral`, so the
    one that was installed last has replaced files of the other.
    """
    from importlib import metadata

    try:
        version = metadata.version("spectral")
    except metadata.PackageNotFoundError:
        return None
    return (
        f"this environment also has the distribution 'spectral' {version}, a library for "
        "hyperspectral imaging, which writes to the same folder as 'spectral-plasticity', and "
        "each replaces files of the other. An environment can hold only one of the two: run `pip "
        "uninstall spectral spectral-plasticity` and install one again, or make an environment for "
        "each."
    )
