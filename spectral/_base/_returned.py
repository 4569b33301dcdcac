"""Checks of what the methods of a part return.

They look at structure, shapes and types alone, while a program is traced: a compiled program does
not contain them.
"""

from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


_ROW = "a dictionary of numbers or arrays by name"
_PAIR = "`(learner, state)`, with a `Learner` first"
_FORMS = {
    "begin_task": _PAIR,
    "update": _PAIR,
    "collect": f"`(state, chunk, metrics)`, with a `Chunk` and {_ROW}",
    "forward": "`(outputs, aux)`, with an `Aux` second",
    "criterion": f"`(loss, metrics)`, with a scalar loss and {_ROW}",
    "reset": "`(state, observation)`",
    "step": "`(state, step)`, with a `Step` second",
    "reset_env": "`(observation, state)`",
    "step_env": "`(observation, state, reward, done, info)`",
    "value": "a scalar, which is added to the loss",
}


def check_tuple(part: Any, method: str, found: Any, *kinds: type) -> None:
    """Check that a method returned a tuple of items of these kinds. A `dict` is checked as by
    `check_row`.

    **Raises:** `TypeError` naming the class, the method, what it returned and what it must return.
    """
    fits = isinstance(found, tuple) and len(found) == len(kinds)
    if not fits or not all(map(isinstance, found, kinds)):
        _reject(part, method, _shown(found), _FORMS[method])
    for item, kind in zip(found, kinds, strict=True):
        if kind is dict:
            check_row(part, method, item)


def check_row(part: Any, method: str, row: Any) -> None:
    """Check that a method returned a dictionary of numbers or arrays by name.

    **Raises:** `TypeError`, as `check_tuple`.
    """
    if not isinstance(row, dict):
        _reject(part, method, _shown(row), _ROW)
    for name, value in row.items():
        if not isinstance(name, str):
            _reject(part, method, f"the name {name!r}, of type {type(name).__name__}", _ROW)
        if not _is_real(value):
            _reject(part, method, f"{_shown(value)} under the name {name!r}", _ROW)


def check_loss(part: Any, method: str, loss: Any) -> None:
    """Check that the loss that a method returned is a scalar.

    **Raises:** `TypeError`, as `check_tuple`.
    """
    check_scalar(part, method, loss, what=" as the loss")


def check_scalar(part: Any, method: str, value: Any, *, what: str = "") -> None:
    """Check that a method returned a scalar. `what` follows the value in the message.

    **Raises:** `TypeError`, as `check_tuple`.
    """
    if not eqx.is_array_like(value) or jnp.shape(value) != ():
        _reject(part, method, f"{_shown(value)}{what}", _FORMS[method])


def check_arrays(part: Any, method: str, tree: PyTree) -> None:
    """Check that a method returned an array, or several.

    **Raises:** `TypeError`, as `check_tuple`.
    """
    if not any(map(_is_array, jax.tree.leaves(tree))):
        _reject(part, method, _shown(tree), "arrays `[examples, ...]`")


def check_minibatches(part: Any, items: PyTree, num_minibatches: int) -> None:
    """Check that the items of the chunk that `part.collect` returned are `num_minibatches`.

    **Raises:** `TypeError`, as `check_tuple`.
    """
    shapes = [leaf.shape for leaf in jax.tree.leaves(items) if _is_array(leaf)]
    if not shapes or any(shape[:1] != (num_minibatches,) for shape in shapes):
        found = f"a `Chunk` with items of shapes {shapes}"
        needed = f"items `[minibatches, examples, ...]`, with `minibatches` {num_minibatches}"
        _reject(part, "collect", found, needed)


def check_kept(part: Any, method: str, before: PyTree, after: PyTree) -> None:
    """Check that a method changed the values of arrays alone, which is all that can change in a
    compiled loop: not their shapes and types, no other parts, and not the structure.

    **Raises:** `TypeError`, as `check_tuple`.
    """
    flat = jax.tree_util.tree_leaves_with_path
    leaves = [flat(half, is_leaf=lambda leaf: leaf is None) for half in (before, after)]
    paths = [[path for path, _ in half] for half in leaves]
    if paths[0] != paths[1]:
        _reject_change(part, method, before, after, "")
    for (path, old), (_, new) in zip(*leaves, strict=True):
        both = eqx.is_array(old) and eqx.is_array(new)
        same = (old.shape, old.dtype) == (new.shape, new.dtype) if both else _is_equal(old, new)
        if not same:
            _reject_change(part, method, old, new, jax.tree_util.keystr(path).lstrip("."))
    if jax.tree.structure(before) != jax.tree.structure(after):
        found = f"{_shown(after)} with another static field"
        _reject(part, method, found, f"{_shown(before)} with the fields that it received")


def check_no_twins(part: Any, a: dict[str, Any], b: dict[str, Any]) -> None:
    """Check that no name is in two rows of the stream `part`.

    **Raises:** `ValueError` naming the metric and the next step.
    """
    if twins := a.keys() & b.keys():
        raise ValueError(
            f"The metric {min(twins)!r} is recorded twice, by two methods of {type(part).__name__} "
            "or by the loop: choose different names."
        )


def check_static_kept(method: str, before: PyTree, after: PyTree) -> None:
    """Check that a method changed arrays alone: a compiled loop would lose other changes. Here the
    part is not known; `check_kept` checks what is known to be of one.

    **Raises:** `TypeError` naming the method and the next step.
    """
    halves = [eqx.filter(half, eqx.is_array, inverse=True) for half in (before, after)]
    if jax.tree.structure(halves[0]) != jax.tree.structure(halves[1]) or any(
        a is not b and a != b for a, b in zip(*map(jax.tree.leaves, halves), strict=True)
    ):
        raise TypeError(
            f"`{method}` changed a part of the learner or of a state that is not an array: only "
            "arrays can change in a compiled loop. Make numbers that change arrays, for example "
            "`jnp.asarray(0)`, and keep the structure."
        )


def _reject(part: Any, method: str, found: str, needed: str) -> NoReturn:
    raise TypeError(
        f"`{type(part).__name__}.{method}` returned {found}, but must return {needed}: change what "
        "it returns."
    )


def _reject_change(part: Any, method: str, old: Any, new: Any, place: str) -> NoReturn:
    where = f" at `{place}`" if place else ""
    needed = f"{_shown(old)}, as it received"
    if _shown(old) == _shown(new):
        needed += ", with the same structure"
    if not (_is_array(old) and _is_array(new)):
        needed += (
            ", because only the values of arrays can change in a compiled loop (return arrays such "
            "as `jnp.asarray(0)`, from `init` too)"
        )
    _reject(part, method, f"{_shown(new)}{where}", needed)


def _is_equal(old: Any, new: Any) -> bool:
    return old is new or not (_is_array(old) or _is_array(new) or old != new)


def _is_real(value: Any) -> bool:
    """Whether a value is a real number, an array of these or a list of them."""
    if isinstance(value, list | tuple):
        try:
            value = jax.eval_shape(lambda: jnp.asarray(value))
        except (TypeError, ValueError):
            return False
    elif not eqx.is_array_like(value):
        return False
    dtype = value.dtype if hasattr(value, "dtype") else jnp.result_type(value)
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    if _is_array(value):
        kind = "a NumPy array" if isinstance(value, np.ndarray) else "an array"
        return f"{kind} of type {value.dtype} and shape {value.shape}"
    if isinstance(value, bool | int | float | complex | str):
        return f"the value {value!r}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} ({', '.join(map(_kind, value))})"
    return f"a value of type {type(value).__name__}"


def _kind(value: Any) -> str:
    return "array" if _is_array(value) else type(value).__name__
