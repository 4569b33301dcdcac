"""Paths that a user has given. It imports nothing heavy, so that help is printed at once."""

import os
import pathlib


def expanded(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """The path that was given as the argument `name`, with `~` as the home folder.

    **Raises:** `ValueError` if there is no such user.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"`{name}` is {str(path)!r}, which starts with the home folder of a user who does not "
            "exist: write the whole path."
        ) from error


def existing_file(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a file that was given as the argument `name`.

    **Raises:** `ValueError` as `expanded`, `FileNotFoundError` if there is no such file.
    """
    found = expanded(name, path)
    if not found.is_file():
        raise FileNotFoundError(
            f"`{name}` is {str(path)!r}, but must be a file that exists: give its whole path, or "
            f"one from the current folder {str(pathlib.Path.cwd())!r}."
        )
    return found
