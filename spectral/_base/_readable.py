"""A short text for a Module: its numbers as numbers, its larger parts as sizes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def readable(self: Any) -> str:
    """The text of a Module, for `__repr__ = readable` in its class.

    Arrays with one entry are written as numbers, and others as shape and dtype. A traced number is
    written as JAX writes it. A Module within is written out if its class is readable too, or if all
    of its arrays are numbers; otherwise only its size is given.

    ```python
    readable(Optimiser(optax.sgd, learning_rate=0.1))  # ... hyper={'learning_rate': 0.1} ...
    ```
    """
    return eqx.tree_pformat(_inside(self))


class _Text(str):
    """Text that is shown without quotation marks."""

    __repr__ = str.__str__


def _inside(part: Any) -> Any:
    return jax.tree.map(_written, part, is_leaf=lambda child: child is not part)


def _written(child: Any) -> Any:
    if eqx.is_array(child):
        return _number(child) if child.size == 1 else child
    arrays = [a for a in jax.tree.leaves(child) if eqx.is_array(a)]
    whole = not isinstance(child, eqx.Module) or all(a.size == 1 for a in arrays)
    if whole or type(child).__repr__ is readable:
        return child if jax.tree_util.all_leaves([child]) else _inside(child)
    size = sum(a.size for a in arrays)
    return _Text(f"{type(child).__name__}(<{size:,} numbers in {len(arrays)} arrays>)")


def _number(array: Any) -> Any:
    if isinstance(array, Tracer):
        return _Text(repr(array))
    if jnp.issubdtype(array.dtype, jax.dtypes.extended) or array.is_deleted():
        return array
    # NumPy writes the shortest digits that give this number in its own precision.
    text = str(np.asarray(array).reshape(())[()])
    return _Text("[" * array.ndim + text + "]" * array.ndim)
