"""The check of probabilities that are neither 0 nor 1."""

from typing import Any

import numpy as np
from jax.core import Tracer


def check_strictly_between_0_and_1(name: str, value: Any) -> None:
    """Reject a concrete `value` outside (0, 1). Traced values pass.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    if isinstance(value, Tracer):
        return
    numbers = np.asarray(value)
    if not np.all((numbers > 0) & (numbers < 1)):
        raise ValueError(
            f"`{name}` is {value}, but must lie strictly between 0 and 1: pass such a number."
        )
