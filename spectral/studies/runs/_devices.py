"""The number of host devices that JAX makes."""

import os
import sys


VARIABLE = "JAX_NUM_CPU_DEVICES"
_MOST = 1024  # each starts threads


def choose_devices(count: int | None) -> str | None:
    """Make JAX start with `count` host devices, over which the members of an ensemble are spread.

    `None` leaves the number to the environment; without `JAX_NUM_CPU_DEVICES` JAX makes one.
    Returns an error message, or `None` on success.

    This module must not import JAX, because JAX reads the number when it starts.
    """
    if count is None:
        return None
    if not 1 <= count <= _MOST:
        allowed = "an integer of at least 1" if count < 1 else f"at most {_MOST}"
        return f"`--devices` is {count}, but must be {allowed}."
    if "jax" in sys.modules:
        return (
            f"`--devices` is {count}, but JAX has started already: set {VARIABLE}={count} in the "
            "environment of the process."
        )
    os.environ[VARIABLE] = str(count)
    return None
