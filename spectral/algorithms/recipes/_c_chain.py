"""The recipe of C-CHAIN."""

from .._base._algorithm import Algorithm
from .._base._arguments import Number
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..penalties._churn_reduction import ChurnReduction


def c_chain(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    scale: Number = 0.05,
    initial: Number = 100.0,
    floor: Number = 0.0,
    initial_chunks: int = 50,
    window: int = 100,
    restarts: bool = True,
) -> Algorithm:
    """C-CHAIN (Tang et al., 2025): a penalty on how far each step moves the outputs for other data.

    See `ChurnReduction` for the formula, and for the settings with discrete actions.

    **Raises:** as `ChurnReduction`.
    """
    penalty = ChurnReduction(
        scale=scale,
        initial=initial,
        floor=floor,
        initial_chunks=initial_chunks,
        window=window,
        restarts=restarts,
    )
    return Algorithm(optimiser_of(lr), penalties=(penalty,))
