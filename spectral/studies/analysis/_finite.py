"""Numbers as JSON can hold them."""

import math
from typing import Any

import numpy as np


def finite(values: np.ndarray | np.number | float, *, digits: int | None = None) -> Any:
    """A number, or nested lists of numbers, with `None` for those that are not finite.

    Numbers are rounded to `digits` significant digits if that is given.
    """
    if isinstance(values, np.ndarray) and values.ndim:
        return [finite(value, digits=digits) for value in values]
    number = float(values)
    if not math.isfinite(number):
        return None
    return number if digits is None else float(f"{number:.{digits}g}")
