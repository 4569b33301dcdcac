"""Stochastic gradient descent."""

import optax

from ..._types import Optimiser
from .._base._arguments import as_non_negative, as_positive, Number


def sgd(lr: Number = 1e-2, *, momentum: Number | None = None) -> Optimiser:
    """Stochastic gradient descent, optionally with momentum.

    Every recipe accepts it as `lr`; a plain number there means `sgd(lr)`.

    **Raises:** `ValueError` for an `lr` that is not positive or a negative momentum.

    ```python
    algorithms.l2(sgd(1e-2, momentum=0.9), weight_decay=1e-4)
    ```
    """
    rate = as_positive("lr", lr)
    if momentum is None:
        return Optimiser(optax.sgd, learning_rate=rate)
    momentum = as_non_negative("momentum", momentum)
    return Optimiser(optax.sgd, learning_rate=rate, momentum=momentum)


def optimiser_of(lr: Number | Optimiser) -> Optimiser:
    """The optimiser that a recipe is given, or `sgd(lr)` if it is given a number.

    **Raises:** `ValueError` for a number that is not positive.
    """
    return lr if isinstance(lr, Optimiser) else sgd(lr)
