"""Recipes that control how large the weights are: each is one expression."""

from .._base._algorithm import Algorithm
from .._base._arguments import Number
from ..optimisers._adam import adam
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..optimisers._trac import with_trac
from ..transforms.weights._soft_weight_rescaling import SoftWeightRescaling
from ..transforms.weights._weight_clipping import WeightClipping


def weight_clipping(
    lr: LearningRateOrOptimiser = 1e-2, *, factor: Number = 1.0, head: bool = True
) -> Algorithm:
    """Weight clipping (Elsayed et al., 2024): after every step, weights and biases are clipped to
    `factor` / sqrt(inputs of a unit). See `WeightClipping`.

    The default is that of the paper. It clips a Kaiming initialisation in the first step.

    **Raises:** `ValueError` for a factor that is not positive.
    """
    return Algorithm(optimiser_of(lr), transforms=(WeightClipping(factor=factor, head=head),))


def soft_weight_rescaling(
    lr: LearningRateOrOptimiser = 1e-2, *, amount: Number = 1e-4
) -> Algorithm:
    """Soft weight rescaling (Oh et al., 2025): every step brings the norm of each weight matrix
    nearer to its initial norm, by the fraction `amount` of their difference. See
    `SoftWeightRescaling`.

    The default is the paper's best for an MLP on MNIST.

    **Raises:** `ValueError` for an amount outside [0, 1].
    """
    return Algorithm(optimiser_of(lr), transforms=(SoftWeightRescaling(amount=amount),))


def trac(lr: LearningRateOrOptimiser = 1e-2, *, keep_distance: bool = False) -> Algorithm:
    """TRAC (Muppidi et al., 2024): the distance of the weights from their start, which the base
    optimiser makes, times a scale that is learnt at every step. See `trac_around`.

    Here `lr` is the learning rate of `adam`, the published base, or another base. The authors take
    1e-3 and 1e-2. With small minibatches pass `keep_distance=True`: as published, the weights stay
    at their start for ever once the scale is 0.

    **Raises:** `ValueError` for an `lr` that is not positive.

    ```python
    algorithms.trac(algorithms.sgd(0.03, momentum=0.9), keep_distance=True)
    ```
    """
    return Algorithm(with_trac(optimiser_of(lr, adam), keep_distance=keep_distance))
