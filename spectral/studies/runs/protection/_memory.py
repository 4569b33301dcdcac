"""Messages for runs that need more memory than there is."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import equinox as eqx
import jax

from ...._base._free_memory import free_bytes
from ...experiment._experiment import Experiment
from ...experiment._groups import assemble, groups
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


_COPIES = 3


def check_memory(experiment: Experiment) -> None:
    """Check that the networks of a run fit into the memory that is free now. Linux gives memory
    that it does not have, and later kills the process without a message.

    The check is a lower bound: it counts the networks, as drawn and at both ends of a segment.

    **Raises:** `SettingsError` with both numbers of bytes.
    """
    free = free_bytes()
    for group in groups(experiment):
        given = eqx.filter_eval_shape(lambda names: assemble(experiment, names), group.names)
        arrays = [leaf for leaf in jax.tree.leaves(given["model"]) if hasattr(leaf, "shape")]
        needed = _COPIES * sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays)
        if free is not None and needed > free:
            raise SettingsError(
                f"`model`: The networks of {group.label} need at least {needed / 1e9:.3g} GB, but "
                f"{free / 1e9:.3g} GB of memory are free: lower the sizes of the network, or the "
                "number of seeds."
            )
