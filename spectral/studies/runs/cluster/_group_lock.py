"""Locks of groups: only one process trains a group, also after its starter was killed."""

import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ...experiment._settings import SettingsError
from ._places import cluster_folder


_BETWEEN_TRIES = 0.1  # seconds


@contextmanager
def sole_trainer(path: pathlib.Path, *, seconds: float) -> Iterator[bool]:
    """Lock the file `path` while the block runs. It receives `False` if another process holds the
    lock for longer than `seconds`.

    The file holds the host and the id of the process. The system releases the lock when the
    process ends, even if it is killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        deadline = time.monotonic() + seconds
        while not (locked := _try(file)) and time.monotonic() < deadline:
            time.sleep(_BETWEEN_TRIES)
        if locked:
            file.truncate(0)
            file.write(f"{socket.gethostname()} {os.getpid()}".encode())
            file.flush()
        yield locked


def is_trained(path: pathlib.Path) -> bool:
    """Whether a process holds the lock of a group now."""
    if not path.exists():
        return False
    with open(path, "ab") as file:
        return not _try(file)


def check_no_trainer(folder: pathlib.Path) -> None:
    """**Raises:** `SettingsError` if a job of a cluster still trains a group of this run folder."""
    for path in sorted(cluster_folder(folder).glob("*.lock")):
        if is_trained(path):
            raise SettingsError(
                f"{str(folder)!r} has jobs of a cluster that still train (host and id: "
                f"{path.read_text(encoding='utf-8')}): cancel them, wait until they have ended, or "
                "name another folder with --out."
            )


def _try(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
