"""One process writes to a folder at a time."""

import fcntl
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager

from ..experiment._settings import SettingsError


@contextmanager
def sole_writer(path: pathlib.Path) -> Iterator[None]:
    """Hold the file `path`, which is made if there is none, while the block runs.

    The system lets go of it when the process ends, however that happens.

    **Raises:** `SettingsError` if another process holds it.
    """
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"{str(path.parent)!r} is being written to by another process: wait until that one "
                "has ended, or name another folder with --out."
            ) from error
        yield
