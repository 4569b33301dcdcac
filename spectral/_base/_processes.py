"""Several processes that run one program together, as `jax.distributed` starts them."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
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
    with _together():  # one array at a time, because every device receives the whole of it
        copies = jax.tree.map(lambda x: _own(jax.block_until_ready(_everywhere(x))), arrays)
    return eqx.combine(copies, rest)


def of_all(value: float) -> list[float]:
    """This number in each process, in their order. **Raises:** as `gathered`."""
    if jax.process_count() == 1:
        return [value]
    with _together():
        return np.asarray(multihost_utils.process_allgather(np.float32(value))).tolist()


def check_same(arrays: PyTree, rest: object) -> None:
    """Check that all processes have these arrays, and a `rest` with the same `repr`.

    **Raises:** `ValueError` if they do not; otherwise as `gathered`.
    """
    described = repr(rest).encode()
    for leaf in jax.tree.leaves(eqx.filter(arrays, eqx.is_array)):
        described += np.asarray(_bits(leaf)).tobytes()
    if len(set(of_all(zlib.crc32(described) >> 8))) > 1:  # single precision holds 24 bits
        raise ValueError(
            "The processes of this run have different arguments, but all must have the same model, "
            "algorithm, key, probes, `segment_tasks` and checkpointer: run the same script in each."
        )


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


def _bits(leaf: jax.Array) -> jax.Array:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _own(leaf: jax.Array) -> jax.Array:
    # Through NumPy: an array that is bound to one device cannot be spread again.
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        bits = _own(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf.addressable_data(0)))


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise LostProcessError(
            f"Process {jax.process_index()} of {jax.process_count()} cannot reach another one, "
            "which has ended, or whose machine or network has failed. Start all processes again: "
            "with a checkpointer, the run continues from its last checkpoint."
        ) from error
