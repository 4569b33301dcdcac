"""A message in place of the errors of a machine whose memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from ...experiment._settings import SettingsError


@contextmanager
def within_memory(what: str) -> Iterator[None]:
    """**Raises:** `SettingsError` that names `what`, if the block needs more memory than there
    is."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = (str(error).splitlines() or ["no memory is left"])[0]
        full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in reason
        if not full and "Out of memory" not in reason:
            raise
        raise SettingsError(
            f"{what} needs more memory than this machine has ({reason[:200]}): lower the sizes of "
            "the network, the minibatches or the probes, or the number of seeds."
        ) from error
