"""What a run records of a part that was made in Python."""

import functools
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...recording import fingerprint


def record_part(part: Any) -> Any:
    """Describe a part as YAML can hold it: equal in every process, and different after any change.

    A Module becomes a mapping of its `type` and its fields, and a `functools.partial` one of the
    function and its arguments. Plain values and arrays with one entry stay as they are. Other
    arrays, functions and objects become their name and a hash.

    ```python
    record_part(probes.DeadUnits(num_examples=50))  # {"type": "DeadUnits", "num_examples": 50, ...}
    ```
    """
    if part is None or isinstance(part, bool | int | str):
        return part
    if isinstance(part, float):
        return part if math.isfinite(part) else repr(part)  # NaN is not equal to itself
    if isinstance(part, eqx.Module):
        fields = part.__dataclass_fields__
        return {"type": _name(type(part))} | {
            name: record_part(getattr(part, name, None)) for name in fields
        }
    if isinstance(part, functools.partial):
        given = {"args": record_part(part.args)} if part.args else {}
        return {"type": _name(part.func)} | given | record_part(part.keywords)
    if isinstance(part, Mapping):
        return {str(name): record_part(value) for name, value in part.items()}
    if isinstance(part, tuple | list):
        return [record_part(value) for value in part]
    if _is_number(part):
        number = np.asarray(part).reshape(())
        # NumPy writes the shortest digits that give this number in its own precision.
        return record_part(float(str(number)) if number.dtype.kind == "f" else number.item())
    described = fingerprint(part)
    if described.keys() == {""}:
        return described[""]
    digest = hashlib.sha256(repr(sorted(described.items())).encode()).hexdigest()
    name = _name(part if hasattr(part, "__qualname__") else type(part))
    return {"type": name, "hash": digest[:16]}


def _is_number(part: Any) -> bool:
    if not isinstance(part, jax.Array | np.ndarray | np.generic) or part.size != 1:
        return False
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    return any(jnp.issubdtype(part.dtype, kind) for kind in kinds)


def _name(value: Any) -> str:
    """The name of a class or function: as in YAML, with its module unless it is of the package."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", type(value).__qualname__)
    ours = module is None or module.partition(".")[0] == __name__.partition(".")[0]
    return name if ours else f"{module}:{name}"
