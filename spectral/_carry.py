"""JAX's control flow over values that hold more than arrays.

`jax.lax.scan`, `cond` and their like carry arrays only. What is not an array (functions, sizes,
names) is part of the program and stays as it is.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Bool, PyTree


Value = TypeVar("Value")


def arrays_of(value: PyTree) -> PyTree:
    """The arrays of a value: what JAX's control flow can carry."""
    return eqx.filter(value, eqx.is_array)


def with_arrays(value: Value, arrays: PyTree) -> Value:
    """The value with its arrays replaced."""
    return eqx.combine(arrays, eqx.filter(value, eqx.is_array, inverse=True))


def on_arrays(change: Callable[..., Any], value: PyTree) -> Callable[..., Any]:
    """`change(value, *rest)` as a function of the arrays of the value, returning arrays.

    `change` returns a changed value, or a tuple of it and further arrays.

    ```python
    step = on_arrays(lambda run, x: (advance(run, x), run.loss), run)
    arrays, losses = jax.lax.scan(step, arrays_of(run), xs)
    run = with_arrays(run, arrays)
    ```
    """
    return lambda arrays, *rest: arrays_of(change(with_arrays(value, arrays), *rest))


def branch(condition: Bool[Array, ""], change: Callable[[Value], Value], value: Value) -> Value:
    """`change(value)` where the condition holds, otherwise the value; only one is computed.

    A condition that differs between the members of a `jax.vmap` turns this into a selection, for
    which both are computed.
    """
    arrays = jax.lax.cond(condition, on_arrays(change, value), lambda a: a, arrays_of(value))
    return with_arrays(value, arrays)
