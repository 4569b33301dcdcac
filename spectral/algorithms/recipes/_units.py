"""Recipes that renew units: each is one expression.

Their `layers` are the names of the layers whose units are judged, as in the taps, such as
`"block_*_mlp"`; by default all layers with replaceable units.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from .._base._algorithm import Algorithm
from .._base._arguments import Number
from .._base._named import Names
from .._base._periodic import Periodic
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..penalties._l2 import L2
from ..transforms.units._calibrated_partial_reset import CalibratedPartialReset, Curve
from ..transforms.units._continual_backprop import ContinualBackprop
from ..transforms.units._redo import ReDo
from ..transforms.units._regrama import ReGraMa
from ..transforms.units._self_normalized_reset import SelfNormalizedReset
from ..transforms.units._utilities import adaptable_contribution, UnitFacts


Utility = Callable[[UnitFacts], Float[Array, " units"]]


def cbp(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    replacement_rate: Number = 1e-4,
    maturity: int = 100,
    decay: Number = 0.99,
    utility: Utility = adaptable_contribution,
    compensate: bool = True,
    layers: Names | None = None,
) -> Algorithm:
    """Continual backpropagation (Dohare et al., 2024): in each layer, `replacement_rate` times the
    number of units older than `maturity` steps are replaced per step, lowest utility first.

    See `ContinualBackprop` for the formulas. The defaults are those of Dohare et al. for Permuted
    MNIST; the replacement rate is the largest of their sweep (1e-4, 1e-5, 1e-6). The paper's table
    prints 1e-6, for code that replaced the units of *highest* utility. To use Adam, take `adam`,
    which forgets single entries exactly.

    **Raises:** `ValueError` for a replacement rate outside [0, 1], a decay outside [0, 1) or a
    maturity below one; when training starts, for a name in `layers` that fits no layer.
    """
    transform = ContinualBackprop(
        replacement_rate,
        decay=decay,
        maturity=maturity,
        utility=utility,
        compensate=compensate,
        layers=layers,
    )
    return Algorithm(optimiser_of(lr), transforms=(transform,))


def cbp_l2(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    weight_decay: Number = 1e-3,
    replacement_rate: Number = 1e-4,
    maturity: int = 100,
    utility: Utility = adaptable_contribution,
    layers: Names | None = None,
) -> Algorithm:
    """`cbp` with the penalty of `l2`, as Dohare et al. and the paper use it on Slippery Ant.

    For the other options of `cbp` write `Algorithm(sgd(lr), penalties=(L2(weight_decay),),
    transforms=(ContinualBackprop(...),))`.

    **Raises:** as `cbp` and `l2`.
    """
    transform = ContinualBackprop(
        replacement_rate, maturity=maturity, utility=utility, layers=layers
    )
    return Algorithm(optimiser_of(lr), penalties=(L2(weight_decay),), transforms=(transform,))


def redo(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    threshold: Number = 0.025,
    period: int = 100,
    window: int | None = None,
    layers: Names | None = None,
) -> Algorithm:
    """ReDo (Sokar et al., 2023): every `period` steps, renews the units whose mean |activation| is
    at most `threshold` times the mean of their layer.

    Activity is measured on the last `window` minibatches, by default on all since the last renewal.
    The threshold is the paper's; its period is 1000 steps.

    **Raises:** `ValueError` for a negative threshold, or a period or window below one; when
    training starts, for a period that does not fit the chunk or a window that does not divide it.
    """
    transform = _recycle(ReDo, threshold, period, window, layers)
    return Algorithm(optimiser_of(lr), transforms=(transform,))


def regrama(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    threshold: Number = 0.01,
    period: int = 100,
    window: int | None = None,
    layers: Names | None = None,
) -> Algorithm:
    """ReGraMa (Liu et al., 2025): like `redo`, with the mean |gradient| of a unit's incoming
    weights in place of its activity. The threshold is the paper's; its period is 1000 steps.

    **Raises:** as `redo`.
    """
    transform = _recycle(ReGraMa, threshold, period, window, layers)
    return Algorithm(optimiser_of(lr), transforms=(transform,))


def snr(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    rejection_level: Number = 1e-3,
    max_age: int = 20_000,
    layers: Names | None = None,
) -> Algorithm:
    """Self-normalised resets (Farias & Jozefiak, 2024): renews a unit if at most a fraction
    `rejection_level` of its own past silences lasted as long as the present one, or after `max_age`
    examples of silence. See `SelfNormalizedReset`.

    **Raises:** `ValueError` for a `rejection_level` that is not above 0 and at most 1, or a
    `max_age` below one; when training starts, for a name in `layers` that fits no layer.
    """
    transform = SelfNormalizedReset(rejection_level=rejection_level, max_age=max_age, layers=layers)
    return Algorithm(optimiser_of(lr), transforms=(transform,))


def cpr(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    amount: Number = 0.01,
    curve: Curve = "sigmoid",
    sharpness: Number = 16.0,
    threshold: Number = 1.0,
    decay: Number = 0.99,
    period: int = 100,
    layers: Names | None = None,
) -> Algorithm:
    """Calibrated partial resets (McCutcheon et al., 2026), before called continuous continual
    backpropagation: every `period` steps each unit moves by up to `amount` towards a new one, the
    further the smaller its gradients are. See `CalibratedPartialReset`.

    The amount and the period are those of the authors' scripts for Permuted MNIST and CIFAR, the
    rest are the defaults of their code.

    **Raises:** `ValueError` for an amount or decay outside [0, 1], a sharpness that is not
    positive, an unknown curve or a period below one; when training starts, for a period that does
    not fit the chunk.
    """
    transform = CalibratedPartialReset(
        amount=amount,
        curve=curve,
        sharpness=sharpness,
        threshold=threshold,
        decay=decay,
        period=period,
        layers=layers,
    )
    return Algorithm(optimiser_of(lr), transforms=(transform,))


def _recycle(
    make: type[ReDo] | type[ReGraMa],
    threshold: Number,
    period: int,
    window: int | None,
    layers: Names | None,
) -> Periodic:
    window = period if window is None else window
    return Periodic(make(threshold=threshold, window=window, layers=layers), period)
