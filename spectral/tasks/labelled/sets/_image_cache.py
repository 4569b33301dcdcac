"""A cache of decoded arrays in a folder, which may be deleted at any time."""

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


# Part of every key. Increase it when the meaning of the cached arrays changes.
_FORMAT = 1


def default_cache_dir() -> pathlib.Path:
    """`$XDG_CACHE_HOME/spectral`, or `~/.cache/spectral` if that variable is not an absolute
    path."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else pathlib.Path.home() / ".cache") / "spectral"


def cache_path(cache_dir: pathlib.Path, name: str, source: pathlib.Path) -> pathlib.Path:
    """Returns the path of the cache file for arrays decoded from the files in folder `source`.

    The file name contains a digest of the path, size and modification time of every source file.
    Another folder, or another version of the same files, has another cache file.
    """
    source = source.resolve()
    files = [(str(p), p.stat()) for p in sorted(source.iterdir())]
    identity = [(p, stat.st_size, stat.st_mtime_ns) for p, stat in files]
    key = json.dumps([_FORMAT, name, source.name, identity])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_dir / f"{name.replace('/', '-')}-{source.name}-{digest}.npz"


def cached(
    path: pathlib.Path, names: Iterable[str], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns the arrays of these names stored in `path`. If they are missing, calls `make` and
    stores its result.

    A corrupt file is rebuilt. Several processes may do this at the same time: each writes its own
    file and renames it in one step, so that no process reads a partial file.

    **Warns:** `UserWarning` if the arrays cannot be stored; they are still returned.
    """
    arrays = _read(path)
    # The checksums in the file cover single arrays; its table of contents has none.
    if arrays is None or set(arrays) != set(names):
        arrays = make()
        try:
            _write(path, arrays)
        except OSError as error:
            _warn(path.parent, error.strerror or str(error))
    return arrays


@functools.cache  # Warn once, even if a study loads its data many times.
def _warn(cache_dir: pathlib.Path, reason: str) -> None:
    warnings.warn(
        f"The decoded images cannot be stored in `cache_dir` {str(cache_dir)!r} ({reason}), and "
        "will be decoded again next time: pass a `cache_dir` that is writable.",
        stacklevel=4,
    )


def _read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            # NumPy alone misses some errors: it stops reading where the header of an array says.
            if archive.testzip() is not None:
                return None
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
    except Exception:  # Usually the file does not exist; a corrupt file may raise any exception.
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
