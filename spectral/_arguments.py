"""Checks of arguments, with one wording for all messages."""

import difflib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


Count = int | np.integer  # a size, an order or a number of things
# Layers and rounds that a program writes out one after the other: more of them take hours.
MOST_WRITTEN_OUT = 1000
MOST_ROUNDS = 1_000_000  # of a loop without any report
_LARGEST = 2**31 - 1  # integers of compiled programs have 32 bits


def check_above(name: str, value: Any, bound: float, *, strict: bool = True) -> None:
    """Check that a concrete `value` is finite and above `bound` (or at least `bound`, if not
    `strict`).

    Traced values (inside `jit`, `vmap` or `grad`) are unknown and pass.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    if isinstance(value, Tracer):
        return
    _check_number(name, value)
    numbers = np.asarray(value)
    low = numbers <= bound if strict else numbers < bound
    if np.any(low | ~np.isfinite(numbers)):
        allowed = f"finite and {'above' if strict else 'at least'} {bound:g}"
        raise ValueError(f"`{name}` is {value}, but must be {allowed}: pass one of these.")


def check_finite_number(name: str, value: Any) -> None:
    """Check that a concrete `value` is a finite number. Traced values pass.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    if isinstance(value, Tracer):
        return
    _check_number(name, value)
    if not np.all(np.isfinite(np.asarray(value))):
        raise ValueError(f"`{name}` is {value}, but must be finite: pass for example 0.5.")


def _check_number(name: str, value: Any) -> None:
    """Texts, `None` and single Booleans are not numbers."""
    if isinstance(value, bool | np.bool_) or np.asarray(value).dtype.kind in "OSU":
        raise ValueError(f"`{name}` is {value!r}, but must be a number: pass for example 0.5.")


def check_no_nan(name: str, value: Any) -> None:
    """Check that a concrete `value` contains no NaN. Infinities and traced values pass.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    if not isinstance(value, Tracer) and np.any(np.isnan(np.asarray(value))):
        raise ValueError(
            f"`{name}` is {value}, but NaN can be compared with nothing: leave these entries "
            "out, or find where they come from."
        )


def check_representable(name: str, value: Any) -> None:
    """Check that a concrete `value`, unless it is 0, does not become 0 in the precision of JAX,
    which is float32 without `jax_enable_x64`. Traced values pass.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    if isinstance(value, Tracer):
        return
    single = jax.dtypes.canonicalize_dtype(float)
    smallest = float(jnp.finfo(single).tiny)
    numbers = np.abs(np.asarray(value, np.float64))
    if np.any((numbers > 0) & (numbers < smallest)):
        raise ValueError(
            f"`{name}` is {value}, but must be 0 or at least {smallest:.3g} in magnitude, because "
            f"a smaller number is 0 in {single}: pass one of these."
        )


def check_count(name: str, value: Any, *, minimum: int = 1, maximum: int = _LARGEST) -> None:
    """Check that a size, order or period is an integer from `minimum` to `maximum`.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not minimum <= value <= maximum:
        above = f" and at most {maximum}" if whole and value > maximum else ""
        raise ValueError(
            f"`{name}` is {value!r}, but must be an integer of at least {minimum}{above}: pass one "
            "of these."
        )


def as_int(value: Count) -> int:
    """A NumPy integer as one of Python, which a compiled program takes as a constant.

    Anything else is returned as it is, for `check_count` to judge. As a converter of a field this
    also says, to who reads settings, what the constructor takes.
    """
    return int(value) if isinstance(value, np.integer) else value


def as_int_or_none(value: Count | None) -> int | None:
    """As `as_int`, where `None` is allowed."""
    return None if value is None else as_int(value)


def as_ints(value: tuple[Count, ...]) -> tuple[int, ...]:
    """As `as_int`, for each element of a tuple."""
    return tuple(map(as_int, value))


def check_fraction(name: str, value: Any, *, strict: bool = False) -> None:
    """Check that a concrete `value` lies in [0, 1], or in [0, 1) if `strict`. Traced values pass.

    A decay must be below 1 if its running mean is divided by 1 - decay^t.

    **Raises:** `ValueError` naming the argument, the value, what is allowed and the next step.
    """
    if isinstance(value, Tracer):
        return
    _check_number(name, value)
    numbers = np.asarray(value)
    high = numbers < 1 if strict else numbers <= 1
    if not np.all((numbers >= 0) & high):
        allowed = "be at least 0 and below 1" if strict else "lie between 0 and 1"
        raise ValueError(f"`{name}` is {value}, but must {allowed}: pass one of these.")


def check_kind(name: str, value: Any, kind: type, example: str) -> None:
    """Check that `value` is an instance of `kind`; `example` is the text of one.

    **Raises:** `TypeError` naming the argument, the value, what is allowed and the next step.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"`{name}` is {value!r}, but must be of type {kind.__name__}: pass for example "
            f"`{example}`."
        )


def check_each(name: str, values: Any, kind: type, example: str) -> None:
    """Check that `values` is a tuple or list of instances of `kind`; `example` is the text of one.

    **Raises:** `TypeError` naming the argument, the value, what is allowed and the next step.
    """
    if not isinstance(values, tuple | list):
        raise TypeError(
            f"`{name}` is {values!r}, but must be a tuple of {kind.__name__}: pass for example "
            f"`({example},)`."
        )
    for i, value in enumerate(values):
        check_kind(f"{name}[{i}]", value, kind, example)


def check_one_key(key: Any) -> None:
    """Check that `key` is a single key and not an array of keys.

    **Raises:** `TypeError` if it is not a key; `ValueError` if it is an array of keys. Both name
    the next step.
    """
    dtype = getattr(key, "dtype", np.dtype(object))
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key) and dtype != np.uint32:
        example = key if isinstance(key, int) else 0
        raise TypeError(
            f"`key` is {key!r}, of type {type(key).__name__}, but must be a key of JAX: pass "
            f"`jax.random.key({example})`."
        )
    shape = jax.random.key_data(key).shape[:-1]
    if shape:
        raise ValueError(
            f"`key` is an array of keys of shape {shape}, but must be one key: pass `key[0]`, or "
            "`key=Ensemble(keys)` for several runs in one program."
        )


def unknown_name(what: str, got: str, allowed: Iterable[str], *, most: int | None = None) -> str:
    """The error message for a name that does not exist, with the closest name that does.

    If more than `most` names are allowed, it lists the nearest of them, followed by `...`.
    """
    names = sorted(allowed)
    folded = {name.casefold(): name for name in names}
    near = [folded[n] for n in difflib.get_close_matches(got.casefold(), folded, 1, cutoff=0.4)]
    hint = f"; did you mean {near[0]!r}?" if near else "."
    if most is not None and len(names) > most:
        close = difflib.get_close_matches(got, names, most)
        names = [*(sorted(close) or names[:most]), "..."]
        hint = hint.removesuffix(".")
    return f"{what} {got!r} does not exist. Allowed: {', '.join(names)}{hint}"
