"""What a recipe takes as `lr`."""

from collections.abc import Callable

import jax
import numpy as np
import optax

from ..._base._optimiser import Optimiser
from ..._base._schedule import AbstractLearningRateSchedule
from .._base._arguments import LearningRate
from .._base._as_optimiser import as_optimiser
from ._sgd import sgd


LearningRateOrOptimiser = LearningRate | Optimiser | optax.GradientTransformation


def optimiser_of(
    lr: LearningRateOrOptimiser, make: Callable[[LearningRate], Optimiser] = sgd
) -> Optimiser:
    """The optimiser that a recipe is given, or `make(lr)` if it is given a number or a schedule.

    **Raises:** `ValueError` for a number that is not positive; `TypeError` for anything else, such
    as the function `optax.adam`.
    """
    if isinstance(
        lr, AbstractLearningRateSchedule | float | int | jax.Array | np.ndarray | np.generic
    ):
        return make(lr)
    return as_optimiser("lr", lr)
