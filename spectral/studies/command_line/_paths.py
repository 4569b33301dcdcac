"""Paths in arguments of commands."""

import argparse
import pathlib


def path(text: str) -> pathlib.Path:
    """A path, with `~` expanded. A shell leaves it in arguments such as `--out=~/x`.

    **Raises:** `argparse.ArgumentTypeError` if there is no such user.
    """
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} starts with the home folder of a user who does not exist: write the whole "
            "path."
        ) from error
