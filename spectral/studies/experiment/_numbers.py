"""Which numbers settings may give."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._arguments import check_representable
from ._settings import SettingsError


def check_number(value: Any, where: str) -> None:
    """Check that a number is finite in the precision of JAX and does not become 0 there, and that
    an integer has less than 64 bits. Anything else passes.

    The constructors check the ranges that they need, such as that of a decay. Few of them look for
    NaN, which is neither above nor below any bound.

    **Raises:** `SettingsError` naming the path in the settings, the value and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    # The largest number of the default precision, which is single without `jax_enable_x64`.
    high = float(jnp.finfo(jax.dtypes.canonicalize_dtype(float)).max)
    if isinstance(value, float) and not (math.isfinite(value) and abs(value) <= high):
        raise SettingsError(
            f"`{where}` is {value!r}, but must be a finite number between {-high:.3g} and "
            f"{high:.3g}: give one of these."
        )
    if isinstance(value, float):
        try:
            check_representable(where, value)
        except ValueError as error:
            raise SettingsError(str(error)) from error
    limits = np.iinfo(np.int64)
    if isinstance(value, int) and not limits.min <= value <= limits.max:
        raise SettingsError(
            f"`{where}` is an integer of {value.bit_length()} bits, but must have less than 64: "
            "give a smaller one."
        )


def same_number(value: Any, default: Any) -> bool:
    """Whether both are equal floats, of which NaN is equal to itself."""
    floats = isinstance(value, float) and isinstance(default, float)
    return floats and repr(value) == repr(default)
