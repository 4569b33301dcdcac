"""Several processes that run one program together, as `jax.distributed` starts them."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec


Tree = TypeVar("Tree")
Result = TypeVar("Result")


class LostProcessError(RuntimeError):
    """Another process of the run does not answer any more."""


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def gathered(tree: Tree) -> Tree:
    """The same arrays, each as a whole in this process.

    **Raises:** `LostProcessError` if another process has ended.
    """
    if jax.process_count() == 1:
        return tree
    arrays, rest = eqx.partition(tree, _is_elsewhere)
    if not jax.tree.leaves(arrays):
        return tree
    with _Watched():
        own = jax.tree.map(lambda x: x.addressable_data(0), _everywhere()(arrays))
        jax.block_until_ready(own)
    return eqx.combine(own, rest)


def of_all(value: float) -> list[float]:
    """This number in each process, in their order."""
    if jax.process_count() == 1:
        return [value]
    with _Watched():
        return np.asarray(multihost_utils.process_allgather(np.float32(value))).tolist()


def one_after_another(act: Callable[[], Result]) -> Result:
    """What `act` returns. The first process acts before all others."""
    if jax.process_count() == 1:
        return act()
    if is_first():
        result = act()
        _meet()
        return result
    _meet()
    return act()


def _meet() -> None:
    with _Watched():
        multihost_utils.sync_global_devices("spectral")


class _Watched:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, jax.errors.JaxRuntimeError | ValueError):
            raise LostProcessError(
                f"Process {jax.process_index()} of {jax.process_count()} cannot reach another one, "
                "which has probably ended. Start all processes again: with a checkpointer the run "
                "continues from its last checkpoint."
            ) from error


@functools.cache
def _everywhere() -> Any:
    everything = NamedSharding(Mesh(np.array(jax.devices()), ("devices",)), PartitionSpec())
    return jax.jit(lambda tree: tree, out_shardings=everything)


def _is_elsewhere(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
