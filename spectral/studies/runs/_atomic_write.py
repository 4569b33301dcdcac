"""Files that are written in one step, so that nobody reads half of one."""

import os
import pathlib
import uuid
from collections.abc import Callable
from typing import Any, BinaryIO


def write_text(path: pathlib.Path, text: str) -> None:
    """Write `text` to a file, as UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_atomically(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` on a temporary file in the same folder, then rename that file to `path`.

    Creates the folder if it does not exist. If `write` raises, the old file stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            write(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
