"""Labels of the members of an ensemble, as coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


# The other axes of a history, and of the records of several runs.
_AXES = ("task", "chunk", "vector", "node", "run", "seed")


def coordinates(
    labels: Sequence[str] | Sequence[Mapping[str, Any]] | None, size: int
) -> dict[str, tuple[Any, ...]]:
    """One label for each of `size` members, as coordinates by name. Names are the coordinate
    `member`.

    ```python
    coordinates([{"lr": 0.1}, {"lr": 0.2}], 2)  # {"lr": (0.1, 0.2)}
    ```

    **Raises:** `ValueError` if the number of labels is not that of the members, if names repeat, if
    mappings have different names, or if a value is not a number or a text.
    """
    if labels is None:
        return {}
    if isinstance(labels, str) or len(labels) != size:
        raise ValueError(
            f"`labels` is {labels!r}, but must have one label for each of the {size} members: pass "
            "a list of this length."
        )
    rows = [dict(x) if isinstance(x, Mapping) else {"member": x} for x in labels]
    for i, row in enumerate(rows):
        if row.keys() != rows[0].keys() or not row:
            raise ValueError(
                f"`labels[{i}]` has the names {sorted(row)}, but all labels must have those of the "
                f"first, {sorted(rows[0])}, and at least one: give each member the same names."
            )
        if taken := set(_AXES) & row.keys():
            raise ValueError(
                f"`labels[{i}]` has the name {min(taken)!r}, which is an axis of its own: choose "
                "another name."
            )
    columns = {name: tuple(_plain(name, row[name]) for row in rows) for name in rows[0]}
    names = columns.get("member", ())
    if len(set(names)) < len(names):
        raise ValueError(
            f"`labels` has the names {list(names)}, but all must differ: name members differently."
        )
    return columns


def _plain(name: str, value: Any) -> Any:
    """`value` as a Python number or text."""
    plain = value if isinstance(value, str) else np.asarray(value)
    if isinstance(plain, str):
        return plain
    if plain.shape or plain.dtype.kind not in "biufU":
        raise ValueError(
            f"`labels` has {name!r} = {value!r}, but a coordinate must be a number or a text: pass "
            "one of these."
        )
    return plain.item()
