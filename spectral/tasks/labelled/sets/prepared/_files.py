"""Checks of the files of a prepared data set, before TensorFlow Datasets reads them."""

import json
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


# The names of classes in `features.json`. TensorFlow Datasets imports their modules.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
_ALLOWED = "tensorflow_datasets."


def check_descriptions(name: str, source: pathlib.Path) -> None:
    """Check the descriptions of a data set in the folder `source`: that they can be read, and that
    its features are classes of TensorFlow Datasets. Those of any other module would be imported,
    and so run.

    **Raises:** `ValueError` naming the data set, the file and the class.
    """
    _read(name, source / "dataset_info.json")
    for found in _class_names(_read(name, source / "features.json")):
        if not found.startswith(_ALLOWED):
            raise ValueError(
                f"Data set {name!r} has the feature {found!r} in "
                f"{str(source / 'features.json')!r}, but features must be classes of "
                f"`{_ALLOWED[:-1]}`, because reading the set imports their modules: choose another "
                "data set."
            )


def check_shards(name: str, split: Any) -> None:
    """Check that every file of a split exists. `split` is a `tfds.core.SplitInfo`.

    **Raises:** `ValueError` naming the data set, the split and the file.
    """
    for path in map(pathlib.Path, split.filepaths):
        if not path.is_file() or not path.stat().st_size:
            state = "is empty" if path.is_file() else "is missing"
            raise damaged(name, f"the file {str(path)!r} of the split {split.name!r} {state}")


def damaged(name: str, what: str) -> ValueError:
    """The error for a data set whose files are not as they were prepared."""
    return ValueError(f"Data set {name!r} is damaged: {what}. Copy or prepare the data set again.")


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Everything that the block raises becomes the error of `damaged`, which says that `what`
    cannot be read: wrong files may raise anything."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        raise damaged(name, f"{what} cannot be read ({reason.rstrip(': ')})") from error


def _read(name: str, path: pathlib.Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise damaged(name, f"{str(path)!r} cannot be read: {reason}") from error
    if not isinstance(found, dict):
        raise damaged(name, f"{str(path)!r} does not hold a mapping")
    return found


def _class_names(described: Any) -> Iterator[str]:
    if isinstance(described, dict):
        for key, value in described.items():
            if key in _CLASS_KEYS and isinstance(value, str):
                yield value
            yield from _class_names(value)
    elif isinstance(described, list):
        for value in described:
            yield from _class_names(value)
