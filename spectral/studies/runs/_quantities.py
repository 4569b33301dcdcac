"""What the recorded columns of a run are, in its folder."""

import json
import pathlib
from collections.abc import Mapping

from ..._base._quantity import Quantity
from ._atomic_write import write_text
from ._folder import QUANTITIES


def save_quantities(folder: pathlib.Path, quantities: Mapping[str, Quantity]) -> None:
    """Write what the columns are that are meant to be shown."""
    facts = {column: quantity.facts for column, quantity in quantities.items()}
    write_text(folder / QUANTITIES, json.dumps(facts, indent=1) + "\n")


def load_quantities(folder: pathlib.Path) -> dict[str, Quantity]:
    """Read what `save_quantities` has written. A run that has not begun has none."""
    path = folder / QUANTITIES
    if not path.exists():
        return {}
    read = json.loads(path.read_text(encoding="utf-8"))
    return {
        column: Quantity(**facts | {"limits": tuple(facts["limits"])})
        for column, facts in read.items()
    }
