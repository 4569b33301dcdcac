"""Decoded arrays kept between runs, in a folder that may be deleted at any time."""

import functools
import hashlib
import json
import os
import pathlib
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable

import numpy as np


# Part of every key. To be raised when the arrays that are kept change their meaning.
_FORMAT = 1


def default_cache_dir() -> pathlib.Path:
    """`$XDG_CACHE_HOME/spectral`, or `~/.cache/spectral` where that variable is no full path."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else pathlib.Path.home() / ".cache") / "spectral"


def cache_path(cache_dir: pathlib.Path, name: str, source: pathlib.Path) -> pathlib.Path:
    """Where the arrays decoded from the files of the folder `source` are kept.

    The file's name holds a digest of the path, size and time of change of every source file:
    another folder, or another version of the same files, is another file in the cache.
    """
    source = source.resolve()
    files = [(str(p), p.stat()) for p in sorted(source.iterdir())]
    identity = [(p, stat.st_size, stat.st_mtime_ns) for p, stat in files]
    key = json.dumps([_FORMAT, name, source.name, identity])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_dir / f"{name.replace('/', '-')}-{source.name}-{digest}.npz"


def kept(
    path: pathlib.Path, names: Iterable[str], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of these names kept in `path`; or else what `make` returns, then kept there.

    A file that is spoilt is replaced. Several processes may do this at the same time: each writes
    a file of its own and moves it into place in one step, so that nobody reads half a file.

    **Warns:** `UserWarning` if the arrays cannot be kept; they are returned all the same.
    """
    arrays = _read(path)
    # The check sums in the file are those of single arrays; its table of contents has none.
    if arrays is None or set(arrays) != set(names):
        arrays = make()
        try:
            _write(path, arrays)
        except OSError as error:
            _warn(path.parent, error.strerror or str(error))
    return arrays


@functools.cache  # One warning, however often a study loads its data.
def _warn(cache_dir: pathlib.Path, reason: str) -> None:
    warnings.warn(
        f"The decoded images cannot be kept in `cache_dir` {str(cache_dir)!r} ({reason}), and will "
        "be decoded again the next time: pass a `cache_dir` that can be written to.",
        stacklevel=4,
    )


def _read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            # NumPy alone does not see every error: it stops where an array's header says it ends.
            if archive.testzip() is not None:
                return None
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
    except Exception:  # Most often there is no file; a spoilt one may raise almost anything.
        return None


def _write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
