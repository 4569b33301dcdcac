"""Several processes that run one program together, as `jax.distributed` starts them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


Tree = TypeVar("Tree")
Result = TypeVar("Result")


class LostProcessError(RuntimeError):
    """Another process of a run cannot be reached, because it has ended or its machine has."""


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def gathered(tree: Tree) -> Tree:
    """The same pytree, with all arrays as a whole in this process.

    **Raises:** `LostProcessError` if another process cannot be reached.
    """
    elsewhere = lambda leaf: isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    arrays, rest = eqx.partition(tree, elsewhere)
    if not jax.tree.leaves(arrays):
        return tree
    with _together():
        copies = jax.block_until_ready(_everywhere(arrays))
    return eqx.combine(jax.tree.map(lambda x: x.addressable_data(0), copies), rest)


def of_all(value: float) -> list[float]:
    """This number in each process, in their order. **Raises:** as `gathered`."""
    if jax.process_count() == 1:
        return [value]
    with _together():
        return np.asarray(multihost_utils.process_allgather(np.float32(value))).tolist()


def first_before_others(act: Callable[[], Result]) -> Result:
    """What `act` returns. The first process acts before all others. **Raises:** as `gathered`."""
    if jax.process_count() == 1:
        return act()
    if is_first():
        result = act()
        _meet()
        return result
    _meet()
    return act()


def _meet() -> None:
    with _together():
        multihost_utils.sync_global_devices("spectral")


@eqx.filter_jit
def _everywhere(tree: PyTree) -> PyTree:
    devices = Mesh(np.array(jax.devices()), ("devices",))
    return jax.lax.with_sharding_constraint(tree, NamedSharding(devices, PartitionSpec()))


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise LostProcessError(
            f"Process {jax.process_index()} of {jax.process_count()} cannot reach another one, "
            "which has ended, or whose machine or network has failed. Start all processes again: "
            "with a checkpointer, the run continues from its last checkpoint."
        ) from error
