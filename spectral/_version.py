"""The version of the package."""

from ._distribution import installed_version


__version__ = installed_version()
