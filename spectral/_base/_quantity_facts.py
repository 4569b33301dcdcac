"""Which arguments a `Quantity` may have, and which entry of a column it may choose."""

import math
import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any


_FIGURE = re.compile(r"[A-Za-z0-9_-]+")  # it becomes the name of a file


def check_facts(quantity: Any) -> None:
    """Check the types of the arguments of a `Quantity`.

    **Raises:** `ValueError` naming the argument, its value and what is allowed.
    """
    for name, (fits, allowed) in _FACTS.items():
        value = getattr(quantity, name)
        if not fits(value):
            raise ValueError(
                f"`{name}` of the quantity {quantity.label!r} is {value!r}, but must be {allowed}: "
                "pass one of these."
            )


def check_entry(name: str, reduce: Any, size: int, owner: str) -> None:
    """Check that a column with `size` numbers for each task has the entry `reduce`.

    Names of reductions pass.

    **Raises:** `ValueError` naming the owner of the quantity, its name and what is allowed.
    """
    if not isinstance(reduce, str) and not -size <= reduce < size:
        raise ValueError(
            f"`{owner}.quantities()` has {name!r} with `reduce={reduce}`, but its column has "
            f"{size} number{'s' if size > 1 else ''} for each task: pass an index from 0 to "
            f"{size - 1}, or a name such as 'mean'."
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_cost(value: Any) -> bool:
    return value is None or (_is_number(value) and value >= 0)


def _is_interval(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    if not pair or not all(end is None or _is_number(end) for end in value):
        return False
    return None in value or value[0] < value[1]


def _chooses(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, Integral) and not isinstance(value, bool))


def _is_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, (*value.keys(), *value.values())))


_FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "label": (lambda v: _is_text(v) and bool(v.strip()), "a text that is not empty"),
    "unit": (_is_text, "a text"),
    "limits": (_is_interval, "a tuple of the smallest and the largest value, numbers or None"),
    "scale": (_is_text, "'linear' or 'log'"),
    "better": (lambda v: v is None or _is_text(v), "'higher', 'lower' or None"),
    "guess": (lambda v: v is None or _is_number(v), "a finite number or None"),
    "compared": (lambda v: isinstance(v, bool), "True or False"),
    "figure": (lambda v: _is_text(v) and bool(_FIGURE.fullmatch(v)), "letters, digits, _ and -"),
    "reduce": (_chooses, "the name of a reduction, or the index of an entry"),
    "rows": (lambda v: v is None or _is_text(v), "'train', 'validation', 'test' or None"),
    "bounds": (_is_names, "a mapping from 'lower', 'upper' and 'resolved' to columns"),
    "note": (_is_text, "a text"),
    "cost": (_is_cost, "a finite number that is not negative, or None"),
}
