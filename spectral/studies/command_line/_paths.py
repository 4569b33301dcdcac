"""Paths in arguments of commands."""

import argparse
import pathlib

from ..._base._paths import expanded


def path(text: str) -> pathlib.Path:
    """A path, with `~` expanded. A shell leaves it in arguments such as `--out=~/x`.

    **Raises:** `argparse.ArgumentTypeError` if there is no such user.
    """
    try:
        return expanded("path", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
