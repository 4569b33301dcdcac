"""Recipes that act when a task begins: each is one expression."""

from typing import Literal

from .._base._algorithm import Algorithm
from .._base._arguments import Number
from ..optimisers._adam import adam
from ..optimisers._local_time import LocalTime
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..transforms.weights._direction_aware_shrink import DirectionAwareShrink
from ..transforms.weights._frobenius_isometry import FrobeniusIsometry


def fire(lr: LearningRateOrOptimiser = 1e-2, *, iterations: int = 10) -> Algorithm:
    """FIRE (Han et al., 2026): before every task except the first, each weight matrix is projected
    towards an isometry and the optimiser starts again. See `FrobeniusIsometry`.

    The default is that of the authors' code for images.

    **Raises:** `ValueError` for `iterations` below one.
    """
    return Algorithm(optimiser_of(lr), transforms=(FrobeniusIsometry(iterations=iterations),))


def dash(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    min_factor: Number = 0.3,
    decay: Number = 0.7,
    num_batches: int = 10,
    batch_size: int = 256,
) -> Algorithm:
    """DASH (Shin et al., 2024): before every task except the first, the weights of a unit shrink by
    their cosine with the negative gradient of the new data. See `DirectionAwareShrink`.

    `min_factor` and `decay` are those of the authors, the batches those of the rerun in the code of
    FIRE; ten of them make up 97 % of the running mean.

    **Raises:** `ValueError` for a `min_factor` outside [0, 1], a decay outside [0, 1), or a number
    of batches or a batch size below one; when training starts, for a `batch_size` above the number
    of training examples.
    """
    transform = DirectionAwareShrink(
        min_factor=min_factor, decay=decay, num_batches=num_batches, batch_size=batch_size
    )
    return Algorithm(optimiser_of(lr), transforms=(transform,))


def adam_local_time(
    lr: LearningRateOrOptimiser = 1e-2, *, at: Literal["task", "chunk"] = "task"
) -> Algorithm:
    """Adam on local time (Ellis et al., 2024): Adam counts its steps from the start of each task,
    or of each chunk, and keeps its moments. See `LocalTime`.

    Here `lr` is the learning rate of `adam`, or an optimiser that contains Adam.

    **Raises:** `ValueError` for an `lr` that is not positive or an unknown name; when training
    starts, for an optimiser without Adam.
    """
    return Algorithm(optimiser_of(lr, adam), transforms=(LocalTime(at=at),))
