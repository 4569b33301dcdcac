"""A lock that lets only one process write to a folder."""

import fcntl
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ...experiment._settings import SettingsError


@contextmanager
def sole_writer(path: pathlib.Path) -> Iterator[None]:
    """Lock the file `path`, which is created if it does not exist, while the block runs.

    The system releases the lock when the process ends, even if it is killed.

    **Raises:** `SettingsError` if another process holds the lock.
    """
    with open(path, "ab") as file:
        _lock(file, path)
        yield


def check_no_writer(path: pathlib.Path) -> None:
    """Check that no other process holds the lock of the file `path`. Nothing is written.

    **Raises:** `SettingsError` if one does.
    """
    if path.exists():
        with open(path, "r+b") as file:  # some file systems lock only what may be written
            _lock(file, path)


def _lock(file: BinaryIO, path: pathlib.Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingsError(
            f"{str(path.parent)!r} is being written to by another process: wait until that "
            "process has ended, or name another folder with --out."
        ) from error
