"""JAX's control flow over values that hold more than arrays.

`jax.lax.scan`, `jax.lax.cond` and similar functions carry arrays only. Everything else (functions,
sizes, names) is part of the program and does not change.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


Value = TypeVar("Value")


def arrays_of(value: PyTree) -> PyTree:
    """The arrays in a value, which JAX's control flow can carry."""
    return eqx.filter(value, eqx.is_array)


def with_arrays(value: Value, arrays: PyTree) -> Value:
    """The value with its arrays replaced by `arrays`."""
    return eqx.combine(arrays, eqx.filter(value, eqx.is_array, inverse=True))


def on_arrays(change: Callable[..., Any], value: PyTree) -> Callable[..., Any]:
    """Turn `change(value, *rest)` into a function that takes and returns the arrays of the value.

    `change` returns a changed value, or a tuple of a changed value and further arrays.

    ```python
    counter = {"count": jnp.array(0), "name": "steps"}
    step = on_arrays(lambda c, x: (c | {"count": c["count"] + x}, c["count"]), counter)
    arrays, counts = jax.lax.scan(step, arrays_of(counter), jnp.arange(3))
    counter = with_arrays(counter, arrays)  # {"count": 3, "name": "steps"}
    ```
    """
    return lambda arrays, *rest: arrays_of(change(with_arrays(value, arrays), *rest))


def branch(condition: Bool[Array, ""], change: Callable[[Value], Value], value: Value) -> Value:
    """Returns `change(value)` if the condition holds, otherwise `value`. Only that one is computed.

    If the condition differs between the members of a `jax.vmap`, both are computed and one is
    selected. Floating-point arrays that `change` has made wider become as narrow as they were.
    """
    changed = on_arrays(change, value)
    same_types = lambda arrays: narrowed(changed(arrays), arrays)
    arrays = jax.lax.cond(condition, same_types, lambda a: a, arrays_of(value))
    return with_arrays(value, arrays)


def strong(value: Value) -> Value:
    """The value with weakly typed arrays made strongly typed.

    A weakly typed array changes its type in the first step. A scan does not allow that, and a
    second program would be compiled.
    """

    def typed(x: Any) -> Any:
        if not eqx.is_array(x) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(typed, value)


def narrowed(tree: Value, like: PyTree) -> Value:
    """A pytree whose arrays have the types of those of `like` where these are narrower.

    A float32 array that stands for a bfloat16 one becomes bfloat16, because a product of the two
    types is computed in the wider one. All other leaves are unchanged, as is a pytree of another
    structure.
    """
    if jax.tree.structure(tree) != jax.tree.structure(like):
        return tree
    return jax.tree.map(_narrowed, tree, like)


def _narrowed(x: Any, like: Any) -> Any:
    pair = x, like
    if not all(eqx.is_array(a) and jnp.issubdtype(a.dtype, jnp.floating) for a in pair):
        return x
    wider = x.dtype != like.dtype and jnp.promote_types(x.dtype, like.dtype) == x.dtype
    return x.astype(like.dtype) if wider else x
