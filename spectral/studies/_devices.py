"""How many devices JAX makes of the cores of this machine."""

import os
import sys


VARIABLE = "JAX_NUM_CPU_DEVICES"


def choose_devices(count: int | None) -> str | None:
    """Ask JAX, before it starts, for `count` host devices; `None` is one for each core.

    The members of an ensemble are spread over them. A choice that the environment has made already
    stands where none is given here. Returns what is wrong, if something is.

    This module must not import JAX, which reads the number when it starts.
    """
    chosen = VARIABLE in os.environ or "host_platform_device_count" in os.environ.get(
        "XLA_FLAGS", ""
    )
    if count is None and (chosen or "jax" in sys.modules):
        return None
    if count is not None and count < 1:
        return f"`--devices` is {count}, but must be an integer of at least 1."
    if count is not None and "jax" in sys.modules:
        return (
            f"`--devices` is {count}, but JAX has started already: set {VARIABLE}={count} in the "
            "environment of the process."
        )
    os.environ[VARIABLE] = str(count or _cores())
    return None


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
