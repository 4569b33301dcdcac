"""Arrays from data sets that give one row at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Indexed(Protocol):
    """A data set with a length that returns a row for an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def dataset_arrays(
    dataset: Indexed, *, keys: tuple[str, str] | tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inputs and labels of a data set of Hugging Face `datasets`, of PyTorch, or of any
    other object with `__len__` and `__getitem__`, as the arguments of `labelled_set`.

    ```python
    rows = [{"image": [0.0, 1.0], "label": 0}, {"image": [2.0, 3.0], "label": 1}]
    inputs, labels = dataset_arrays(rows)
    inputs.shape  # (2, 2)
    ```

    **Arguments:**

    - `dataset`: each row is a tuple or a mapping. Its entries become NumPy arrays: numbers, lists,
      arrays, tensors on the CPU, Pillow images.
    - `keys`: of the input and the label in a row. They are needed if a row has more than two
      entries; by default the first entry is the input and the second the label.

    **Raises:** `TypeError` for an object without length or index, such as an iterator. `ValueError`
    if there are no rows, and, naming the row, if it cannot be read, has no
    such keys, or has another shape than the first row.
    """
    lacking = [name for name in ("__len__", "__getitem__") if not hasattr(dataset, name)]
    if lacking:
        raise TypeError(
            f"`dataset` is of type {type(dataset).__name__}, without {' and '.join(lacking)}, but "
            "must have a length and return a row for an index: pass `list(dataset)`."
        )
    total = len(dataset)
    if not total:
        raise ValueError("`dataset` has 0 rows, but must have at least one: pass another.")
    inputs, labels = [], []
    for row in range(total):
        entries = _entries(dataset, row, keys)
        for what, found, entry in zip(("input", "label"), (inputs, labels), entries, strict=True):
            if found and entry.shape != found[0].shape:
                raise ValueError(
                    f"`dataset` has {what}s of shape {entry.shape} in row {row} and of shape "
                    f"{found[0].shape} in row 0, but all rows must have one shape: resize, pad or "
                    "leave out the others."
                )
            found.append(entry)
    return np.stack(inputs), np.stack(labels)


def _entries(dataset: Indexed, row: int, keys: tuple[Any, Any] | None) -> list[np.ndarray]:
    try:
        example = dataset[row]
    except Exception as error:  # the code of a data set may raise anything
        raise ValueError(
            f"`dataset` raises {type(error).__name__} in row {row} ({error}), but must return "
            f"every row below its length {len(dataset)}: fix or leave out this row."
        ) from error
    chosen = _keys(example, row) if keys is None else keys
    try:
        return [np.asarray(example[key]) for key in chosen]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"`dataset` has the row {row} of type {type(example).__name__}, in which `keys` "
            f"{chosen!r} cannot be read as arrays ({type(error).__name__}: {error}): pass the "
            "`keys` of an input and a label."
        ) from error


def _keys(example: Any, row: int) -> tuple[Any, ...]:
    named = isinstance(example, Mapping)
    if (named or isinstance(example, Sequence)) and len(example) == 2:
        return tuple(example) if named else (0, 1)
    what = list(example) if named else f"type {type(example).__name__}"
    raise ValueError(
        f"`dataset` has a row {row} with {what}, but without `keys` a row must be a tuple or a "
        'mapping of two entries: pass for example `keys=("image", "label")`.'
    )
