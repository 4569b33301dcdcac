"""How many devices JAX makes of the cores of this machine."""

import os
import sys


VARIABLE = "JAX_NUM_CPU_DEVICES"


def choose_devices(count: int | None) -> str | None:
    """Ask JAX, before it starts, for `count` host devices; `None` leaves it to the environment,
    and JAX makes one.

    The members of an ensemble are spread over them. Returns what is wrong, if something is.

    This module must not import JAX, which reads the number when it starts.
    """
    if count is None:
        return None
    if count < 1:
        return f"`--devices` is {count}, but must be an integer of at least 1."
    if "jax" in sys.modules:
        return (
            f"`--devices` is {count}, but JAX has started already: set {VARIABLE}={count} in the "
            "environment of the process."
        )
    os.environ[VARIABLE] = str(count)
    return None
