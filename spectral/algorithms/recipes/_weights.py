"""Recipes that act on all weights: each is one expression."""

from typing import get_args

import optax

from ..._base._optimiser import Optimiser
from .._base._algorithm import Algorithm
from .._base._arguments import (
    as_fraction,
    as_learning_rate,
    as_non_negative,
    check_name,
    LearningRate,
    Number,
)
from .._base._named import Names
from .._base._needs_norm import NeedsNorm
from .._base._periodic import Periodic
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..optimisers._upgd import perturbed_sgd, Scope
from ..penalties._l2 import L2
from ..penalties._l2_init import L2Init
from ..penalties._parseval import Parseval
from ..penalties._spectral_norm import SpectralNorm
from ..penalties._wasserstein_init import WassersteinInit
from ..transforms.weights._hare_tortoise import HareTortoise
from ..transforms.weights._normalize_project import NormalizeProject
from ..transforms.weights._reset import Reset
from ..transforms.weights._selective_reinit import (
    NewWeights,
    Pruning,
    SelectiveReinit,
    WeightUtility,
)
from ..transforms.weights._shrink_perturb import ShrinkPerturb


def snp(lr: LearningRateOrOptimiser = 1e-2, *, noise: Number = 1e-5, period: int = 1) -> Algorithm:
    """Perturb: Gaussian noise of standard deviation `noise` on every parameter after every step.

    This is the agent `snp` of the paper's comparison: shrink and perturb without shrinking. With
    `period=n` the noise of n steps is added at once, with the same variance at 1/n of the cost. See
    `ShrinkPerturb` for other versions.

    **Raises:** `ValueError` for a negative noise or a period below one; when training starts, for a
    period that does not fit the chunk.
    """
    return Algorithm(optimiser_of(lr), transforms=(_perturb(noise, period),))


def snp_l2(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    weight_decay: Number = 1e-3,
    noise: Number = 1e-5,
    period: int = 1,
) -> Algorithm:
    """Shrink and perturb as in Dohare et al. (2024): the penalty of `l2` shrinks, `snp` perturbs.

    **Raises:** as `snp` and `l2`.
    """
    return Algorithm(
        optimiser_of(lr), penalties=(L2(weight_decay),), transforms=(_perturb(noise, period),)
    )


def reset(lr: LearningRateOrOptimiser = 1e-2, *, part: Names = "network") -> Algorithm:
    """The baseline RESET: a new network and optimiser at the start of every task; with
    `part="head"` only a new output layer, with paths such as `"blocks.0.mlp"` only these parts. See
    `Reset`.

    **Raises:** `ValueError` for an empty part; when training starts, for a path that is not in the
    network.
    """
    return Algorithm(optimiser_of(lr), transforms=(Reset(part=part),))


def l2_init(lr: LearningRateOrOptimiser = 1e-2, *, strength: Number = 1e-3) -> Algorithm:
    """Regenerative regularisation (Kumar et al., 2023): the penalty
    (strength / 2) ||theta - theta_0||^2 towards the initial weights. See `L2Init` for variants.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(L2Init(strength),))


def wasserstein(lr: LearningRateOrOptimiser = 1e-2, *, strength: Number = 1.0) -> Algorithm:
    """The penalty strength ||sort(theta) - sort(theta_0)||^2 / n, summed over arrays of n entries
    (Lewandowski et al., 2023). It is a mean over entries, so it needs a far larger strength than
    `l2_init`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(WassersteinInit(strength),))


def spectral_reg(lr: LearningRateOrOptimiser = 1e-2, *, strength: Number = 1e-3) -> Algorithm:
    """Spectral regularisation (Lewandowski et al., 2024): the penalty strength (sigma^2 - 1)^2 on
    the largest singular value of every weight matrix. See `SpectralNorm`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(SpectralNorm(strength),))


def parseval(lr: LearningRateOrOptimiser = 1e-2, *, strength: Number = 1e-3) -> Algorithm:
    """Parseval regularisation (Chung et al., 2024): keeps the rows of hidden layers orthogonal with
    squared norm 2. See `Parseval`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(Parseval(strength),))


def layernorm_l2(lr: LearningRateOrOptimiser = 1e-2, *, weight_decay: Number = 1e-3) -> Algorithm:
    """`l2` for a network with a norm before every activation, such as `MLP(..., layer_norm=True)`
    (Lyle et al., 2023).

    **Raises:** as `l2`; `ValueError`, when training starts, for a hidden layer without a norm.
    """
    needed = NeedsNorm("the recipe `l2`")
    return Algorithm(optimiser_of(lr), penalties=(L2(weight_decay),), transforms=(needed,))


def nap(lr: LearningRateOrOptimiser = 1e-2, *, period: int = 1) -> Algorithm:
    """Normalise and project (Lyle et al., 2024): every `period` steps each weight matrix is scaled
    to its initial norm, in a network with a norm before every activation. See `NormalizeProject`.

    **Raises:** `ValueError`, when training starts, for a hidden layer without a norm or a period
    that does not fit the chunk.
    """
    needed = NeedsNorm("the transform `NormalizeProject` alone")
    return Algorithm(optimiser_of(lr), transforms=(needed, Periodic(NormalizeProject(), period)))


def upgd(
    lr: LearningRate = 1e-2,
    *,
    utility_decay: Number = 0.999,
    noise: Number = 1e-3,
    weight_decay: Number = 1e-3,
    scope: Scope = "global",
) -> Algorithm:
    """Utility-based perturbed gradient descent (Elsayed & Mahmood, 2024).

    See `perturbed_sgd` for the formula and for what `scope` means, and `perturbed_adam` for the
    version with Adam.
    `weight_decay` is decoupled here: theta <- (1 - lr w) theta.

    **Raises:** `ValueError` for an `lr` that is not positive, a decay outside [0, 1), a negative
    noise or weight decay, or an unknown scope; `TypeError` if `lr` is an optimiser.
    """
    if isinstance(lr, Optimiser | optax.GradientTransformation):
        raise TypeError(
            "`lr` is an optimiser, but UPGD is one itself: pass a learning rate, or write "
            "`Algorithm(Optimiser(perturbed_adam, learning_rate=...))` for its Adam."
        )
    check_name("scope", scope, get_args(Scope))
    optimiser = Optimiser(
        perturbed_sgd,
        learning_rate=as_learning_rate("lr", lr),
        utility_decay=as_fraction("utility_decay", utility_decay, below_one=True),
        noise=as_non_negative("noise", noise),
        weight_decay=as_non_negative("weight_decay", weight_decay),
        scope=scope,
    )
    return Algorithm(optimiser)


def hare_tortoise(
    lr: LearningRateOrOptimiser = 1e-2, *, decay: Number = 0.99, period: int = 500
) -> Algorithm:
    """Hare and tortoise (Lee et al., 2024): every `period` steps the network returns to the running
    mean of its weights. See `HareTortoise`.

    Published with a decay of 0.999 and thousands of steps between returns. The mean covers about
    1 / (1 - decay) steps; if this is not shorter than the period, it holds the network back.

    **Raises:** `ValueError` for a decay outside [0, 1] or a period below one; when training starts,
    for a period that does not fit the chunk.
    """
    return Algorithm(optimiser_of(lr), transforms=(HareTortoise(decay=decay, period=period),))


def selective_reinit(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    fraction: Number = 1e-5,
    utility: WeightUtility = "gradient",
    pruning: Pruning = "threshold",
    target: NewWeights = "fresh",
    period: int = 100,
    window: int | None = None,
) -> Algorithm:
    """Selective weight reinitialisation (Hernandez-Garcia et al., 2025): every `period` steps, the
    single weights of the smallest utility |g w| get new values. See `SelectiveReinit`.

    The fraction is the paper's for Permuted MNIST with layers of 100 units; its period is 2048
    steps, which fits few chunks.

    **Raises:** `ValueError` for a fraction outside [0, 1], an unknown name, or a period or window
    below one; when training starts, for a period that does not fit the chunk or a window that does
    not divide it.
    """
    transform = SelectiveReinit(
        fraction=fraction, utility=utility, pruning=pruning, target=target, window=window
    )
    return Algorithm(optimiser_of(lr), transforms=(Periodic(transform, period),))


def _perturb(noise: Number, period: int) -> Periodic:
    return Periodic(ShrinkPerturb(noise=noise, steps=period), period)
