"""A description of a configuration that is equal in every process and differs after any change."""

import functools
import hashlib
import re
import types
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def fingerprint(config: Any) -> dict[str, str]:
    """Describe every part of a pytree of Modules, by its path in the pytree.

    Arrays are described by a digest of their bytes, functions by their name, and everything else by
    its value.

    ```python
    recording.fingerprint({"algorithm": algorithms.bp()})["algorithm.optimiser.make"]
    ```
    """
    return dict(_describe("", config))


def difference(old: dict[str, str], new: dict[str, str]) -> str | None:
    """The first part in which two fingerprints differ, as "`path` was ..., is now ...".

    An absent part equals None, so that an option that a later version brings, and that nobody uses,
    does not part a checkpoint from its run.
    """
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path, "absent"), new.get(path, "absent")
        if was != now and not {was, now} <= {"absent", "None"}:
            return f"`{path}` was {was}, is now {now}"
    return None


def _describe(path: str, value: Any) -> Iterator[tuple[str, str]]:
    inside = lambda name: f"{path}.{name}" if path else str(name)
    if isinstance(value, jax.Array | np.ndarray):
        yield path, _digest(value)
    elif isinstance(value, eqx.Module):
        yield inside("type"), _name(type(value))
        for field in value.__dataclass_fields__:
            yield from _describe(inside(field), getattr(value, field, None))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _describe(inside(key), item)
    elif isinstance(value, list | tuple):
        yield inside("length"), str(len(value))
        for i, item in enumerate(value):
            yield from _describe(inside(str(i)), item)
    elif isinstance(value, functools.partial):
        yield from _describe(path, (value.func, value.args, value.keywords))
    elif isinstance(value, types.FunctionType):
        yield path, _name(value)
        if "<" in value.__qualname__:  # the name of a lambda or local function is not unique
            code = value.__code__
            yield inside("code"), _sha256(code.co_code)
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            constants = [c for c in code.co_consts if not hasattr(c, "co_code")]
            defaults = (value.__defaults__, value.__kwdefaults__)
            yield from _describe(inside("closure"), (cells, constants, code.co_names, defaults))
    elif isinstance(value, types.MethodType):
        yield from _describe(path, {"function": value.__func__, "self": value.__self__})
    elif hasattr(value, "__wrapped__"):  # the function under jax.jit, jax.custom_jvp, ...
        yield from _describe(inside("wrapped"), value.__wrapped__)
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield path, repr(value)
    elif not jax.tree_util.all_leaves([value]):
        yield inside("type"), _name(type(value))
        children = jax.tree.leaves(value, is_leaf=lambda x: x is not value)
        yield from _describe(inside("children"), children)
    elif hasattr(value, "__qualname__"):
        yield path, _name(value)
    elif callable(value) and hasattr(value, "__dict__"):
        yield inside("type"), _name(type(value))
        yield from _describe(path, vars(value))
    else:
        yield path, re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _digest(array: Any) -> str:
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return f"key({_digest(jax.random.key_data(array))})"
    values = np.ascontiguousarray(array)
    if values.size == 1:
        return f"{values.dtype} {values.item()!r}"
    return f"{values.dtype}{list(values.shape)} {_sha256(values.tobytes())}"


def _sha256(data: bytes) -> str:
    """The first 16 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]
