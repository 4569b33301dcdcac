"""Arrays of numbers from what a user has: lists, NumPy, pandas, JAX."""

from typing import Any

import numpy as np


def numbers(name: str, values: Any) -> np.ndarray:
    """Returns an array of Booleans, integers or floats. In an array of objects, `None` and the
    missing values of pandas become NaN.

    **Raises:** `ValueError` for rows of different shapes, for text and for anything else that is
    not a number.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(_different_rows(name, values)) from error
    if array.dtype.kind in "biuf" and array.ndim:
        return array
    if array.dtype.kind == "O" and array.ndim:
        entries = array.ravel()
        found = np.empty(len(entries))
        for i, entry in enumerate(entries):
            found[i] = _number(name, entry, np.unravel_index(i, array.shape))
        found = found.reshape(array.shape)
        whole = all(isinstance(entry, int | np.integer) for entry in entries)
        return found.astype(np.int64) if whole else found
    what = "text" if array.dtype.kind in "US" else f"of type {type(values).__name__}"
    raise ValueError(
        f"`{name}` is {what}, but must be an array of numbers with one row for each example: "
        "encode text, for example with `numpy.unique(labels, return_inverse=True)[1]`, and turn a "
        "sparse matrix into `matrix.toarray()`."
    )


def _number(name: str, entry: Any, position: tuple[Any, ...]) -> float:
    # `pandas.NA` is neither a float nor equal to itself.
    if entry is None or type(entry).__name__ in ("NAType", "NaTType"):
        return np.nan
    if isinstance(entry, bool | int | float | np.number | np.bool_):
        return float(entry)
    row, *column = (int(i) for i in position)
    where = f"row {row}, column {column[0]}" if column else f"row {row}"
    raise ValueError(
        f"`{name}` is {entry!r} in {where}, but must be a number: leave this column out, or encode "
        "it, for example with `pandas.get_dummies`."
    )


def _different_rows(name: str, values: Any) -> str:
    shapes = [np.shape(row) for row in values]
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), 0)
    return (
        f"`{name}` has the shape {shapes[0]} in row 0 and {shapes[other]} in row {other}, but all "
        "rows must have one shape: pad or leave out the others."
    )
