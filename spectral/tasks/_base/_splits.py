"""The parts of a data set: training rows, held-out test rows, and perhaps validation rows."""

from typing import Literal, TypeVar

from ..._arguments import unknown_name


Split = Literal["train", "held_out", "validation"]
Value = TypeVar("Value")


def by_split(
    split: Split, *, train: Value, held_out: Value, validation: Value | None = None
) -> Value:
    """Returns the value that belongs to a split. `validation` is `None` for data without
    validation rows.

    **Raises:** `ValueError` for any other name, or for validation rows that do not exist.
    """
    values = {"train": train, "held_out": held_out, "validation": validation}
    if split not in values:
        raise ValueError(unknown_name("`split`: Split", str(split), values))
    value = values[split]
    if value is None:
        raise ValueError(
            "`split` is 'validation', but must be 'train' or 'held_out', because the data have no "
            "validation rows: pass `num_validation` when you load them."
        )
    return value
