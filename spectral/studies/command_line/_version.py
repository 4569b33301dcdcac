"""The version of the package, which is read from the metadata of its distribution."""

from spectral_plasticity import installed_version


__version__ = installed_version()
