"""Stochastic gradient descent."""

import optax

from ..._base._optimiser import Optimiser
from .._base._arguments import as_fraction, as_learning_rate, LearningRate, Number


def sgd(lr: LearningRate = 1e-2, *, momentum: Number | None = None) -> Optimiser:
    """Stochastic gradient descent, optionally with momentum.

    Every recipe accepts it as `lr`; a plain number or a schedule there means
    `sgd(lr)`.

    **Raises:** `ValueError` for an `lr` that is not positive or a momentum outside [0, 1].

    ```python
    algorithms.l2(sgd(1e-2, momentum=0.9), weight_decay=1e-4)
    ```
    """
    rate = as_learning_rate("lr", lr)
    if momentum is None:
        return Optimiser(optax.sgd, learning_rate=rate)
    momentum = as_fraction("momentum", momentum)
    return Optimiser(optax.sgd, learning_rate=rate, momentum=momentum)
