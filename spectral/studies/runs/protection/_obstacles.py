"""What stands in the way of writing to a run folder, and what to do about it."""

import errno
import os
import pathlib
import tempfile
from collections.abc import Iterable


_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_places(
    root: pathlib.Path, folders: Iterable[pathlib.Path], files: Iterable[pathlib.Path]
) -> None:
    """Check that nothing else is where the folders and files of a run in `root` belong, and that
    its folder may be written to. Nothing is written.

    **Raises:** `OSError` that names what is in the way.
    """
    for folder in (root, *folders):
        if (other := _not_a_folder(folder)) is not None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(other))
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))


def check_writable(root: pathlib.Path) -> None:
    """Make the folder of a run, and check that a file can be written there now.

    **Raises:** `OSError` otherwise.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root) as file:
        file.write(b"0")


def told(error: OSError, folder: pathlib.Path) -> str:
    """The message for a run folder that cannot be written to: what is in the way, and the next
    step."""
    if error.errno in _FULL or "No space left" in str(error) or "quota" in str(error).lower():
        return (
            f"{str(folder)!r} cannot be written to: {error}. What was saved before is intact: free "
            "some space and continue with --resume, or name another folder with --out."
        )
    named = pathlib.Path(os.fsdecode(error.filename2 or error.filename or folder))
    if isinstance(error, IsADirectoryError):
        reason = f"{str(named)!r} is a folder, and a file of the run belongs there"
    elif isinstance(error, NotADirectoryError | FileExistsError) or error.errno == errno.ELOOP:
        other = _not_a_folder(named) or named
        kind = "a link that leads to no folder" if other.is_symlink() else "a file"
        reason = f"{str(other)!r} is {kind}, and a folder belongs there"
    else:
        reason = str(error)
    return (
        f"{str(folder)!r} cannot be written to: {reason}. What was saved before is intact: remove "
        "what is in the way and continue with --resume or --extend, or name another folder with "
        "--out."
    )


def _not_a_folder(path: pathlib.Path) -> pathlib.Path | None:
    """The first of `path` and its parents that exists, if it is not a folder."""
    first = next(p for p in (path, *path.parents) if os.path.lexists(p))
    return None if first.is_dir() else first
