"""What may stand in the place of an optimiser."""

from typing import Any

import optax

from ..._base._optimiser import Optimiser


def as_optimiser(argument: str, value: Any) -> Optimiser:
    """The optimiser itself, or the optimiser of an optax transformation.

    **Raises:** `TypeError` for a function that makes a transformation, and for anything else.
    """
    if isinstance(value, Optimiser):
        return value
    if isinstance(value, optax.GradientTransformation):
        return Optimiser(value)
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        raise TypeError(
            f"`{argument}` is the function `{name}`, but must be an `Optimiser` or an optax "
            "transformation: pass `optax.adam(1e-3)`, whose numbers are constants, or "
            "`Optimiser(optax.adam, learning_rate=1e-3)`, whose numbers can be swept without "
            "compiling again. A schedule of optax is a `learning_rate` of the second form."
        )
    raise TypeError(
        f"`{argument}` is {value!r}, but must be an `Optimiser` or an optax transformation: pass "
        "for example `algorithms.sgd(1e-2)` or `optax.adam(1e-3)`."
    )
