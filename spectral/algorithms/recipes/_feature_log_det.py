"""The recipe of the penalty on features that vary in few directions."""

from .._base._algorithm import Algorithm
from .._base._arguments import Number
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..penalties._feature_log_det import FeatureLogDet
from ..penalties._l2 import L2


def feature_log_det(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    strength: Number = 1e-3,
    delta: Number = 1e-3,
    window: int = 1,
    weight_decay: Number = 1e-3,
) -> Algorithm:
    """The penalty -strength log det(delta I + C) on the centred Gram matrix C of the activations of
    each hidden layer, with the penalty of `l2`. See `FeatureLogDet`; both are ours.

    With minibatches of one example, choose a window of at least 2.

    **Raises:** `ValueError` for a negative strength or weight decay, for a delta that is not
    positive, or for a window below one; when training starts, for a window of one example.
    """
    penalties = (FeatureLogDet(strength, delta=delta, window=window), L2(weight_decay))
    return Algorithm(optimiser_of(lr), penalties=penalties)
