"""The two parts of a data set: training rows and held-out rows."""

from typing import Literal, TypeVar

from ..._arguments import unknown_name


Split = Literal["train", "held_out"]
Value = TypeVar("Value")


def by_split(split: Split, *, train: Value, held_out: Value) -> Value:
    """Returns the value that belongs to a split.

    **Raises:** `ValueError` for any other name.
    """
    values = {"train": train, "held_out": held_out}
    if split not in values:
        raise ValueError(unknown_name("`split`: Split", str(split), values))
    return values[split]
