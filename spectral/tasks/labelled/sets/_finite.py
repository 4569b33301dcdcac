"""A check for missing values."""

import numpy as np


def check_finite(name: str, array: np.ndarray) -> None:
    """**Raises:** `ValueError` with the first position of a NaN or an infinity."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    wrong = ~np.isfinite(array)
    position = tuple(int(i) for i in np.argwhere(wrong)[0])
    row, *column = position
    where = f"row {row}, position {tuple(column)}" if len(column) > 1 else f"row {row}"
    where = f"row {row}, column {column[0]}" if len(column) == 1 else where
    rows = int(wrong.reshape(len(array), -1).any(axis=1).sum())
    raise ValueError(
        f"`{name}` is {array[position]} in {where} ({rows} of {len(array)} rows have such values), "
        "but all numbers must be finite: leave these rows out, or fill the values in."
    )
