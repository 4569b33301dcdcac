"""What the recorded columns of a run are, in its folder."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import get_type_hints

from beartype.door import is_bearable

from ..._base._quantity import Quantity
from ._atomic_write import write_text
from ._folder import QUANTITIES
from .protection._damage import DamagedError


def save_quantities(folder: pathlib.Path, quantities: Mapping[str, Quantity]) -> None:
    """Write what the columns are that are meant to be shown."""
    facts = {column: quantity.facts for column, quantity in quantities.items()}
    write_text(folder / QUANTITIES, json.dumps(facts, indent=1) + "\n")


def load_quantities(folder: pathlib.Path) -> dict[str, Quantity]:
    """Read what `save_quantities` has written. A run that has not begun has none.

    **Raises:** `DamagedError` if the file is damaged.
    """
    path = folder / QUANTITIES
    if not path.exists():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return {
            column: _checked(Quantity(**facts | {"limits": tuple(facts["limits"])}))
            for column, facts in read.items()
        }
    except Exception as error:  # a changed file may raise anything
        raise DamagedError(path, error) from error


def _checked(quantity: Quantity) -> Quantity:
    """The quantity. **Raises:** `TypeError` if an argument has another type than it must."""
    for field in dataclasses.fields(Quantity):
        wanted = _HINTS[field.name]
        if not is_bearable(getattr(quantity, field.name), wanted):
            raise TypeError(f"`{field.name}` is {getattr(quantity, field.name)!r}")
    return quantity


_HINTS = get_type_hints(Quantity)
