"""Checks of arguments. They return numbers as arrays: a sweep over them does not recompile."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._arguments import check_above, check_fraction, check_representable, unknown_name
from ..._base._schedule import AbstractLearningRateSchedule


Number = float | Float[Array, ""]
LearningRate = Number | AbstractLearningRateSchedule


def as_positive(name: str, value: Number) -> Float[Array, ""]:
    """`value` as an array.

    **Raises:** `ValueError` unless `value` is finite and above 0, also in the precision of JAX.
    """
    check_above(name, value, 0)
    check_representable(name, value)
    return jnp.asarray(value, dtype=float)


def as_learning_rate(name: str, value: LearningRate) -> LearningRate:
    """`value` as an array, or the schedule that it is.

    **Raises:** `ValueError` for a number that is not finite and above 0.
    """
    return value if isinstance(value, AbstractLearningRateSchedule) else as_positive(name, value)


def as_non_negative(name: str, value: Number) -> Float[Array, ""]:
    """`value` as an array.

    **Raises:** `ValueError` unless `value` is finite and at least 0.
    """
    check_above(name, value, 0, strict=False)
    check_representable(name, value)
    return jnp.asarray(value, dtype=float)


def as_fraction(name: str, value: Number, *, below_one: bool = False) -> Float[Array, ""]:
    """`value` as an array.

    **Raises:** `ValueError` unless `value` lies in [0, 1], or in [0, 1) with `below_one`.
    """
    check_fraction(name, value, strict=below_one)
    check_representable(name, value)
    return jnp.asarray(value, dtype=float)


def check_adam(learning_rate: Number, b1: Number, b2: Number, eps: Number) -> None:
    """Check the numbers of Adam, under the names that optax gives them.

    **Raises:** `ValueError` for a negative `learning_rate`, a beta outside [0, 1) or an `eps` that
    is not positive.
    """
    check_above("learning_rate", learning_rate, 0, strict=False)
    check_fraction("b1", b1, strict=True)
    check_fraction("b2", b2, strict=True)
    check_above("eps", eps, 0)


def check_name(argument: str, name: str, allowed: Sequence[str]) -> None:
    """**Raises:** `ValueError` if `name` is not one of those allowed."""
    if name not in allowed:
        raise ValueError(f"`{argument}`: {unknown_name('Name', name, allowed)}")
