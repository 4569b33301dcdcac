"""Recipes that act on all weights: each is one expression."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._arguments import check_above, check_fraction
from ..._types import Optimiser
from .._base._algorithm import Algorithm
from .._base._needs_norm import NeedsNorm
from .._base._periodic import Periodic
from ..optimisers._sgd import optimiser_of
from ..optimisers._upgd import perturbed_sgd
from ..penalties._l2 import L2
from ..penalties._l2_init import L2Init
from ..penalties._parseval import Parseval
from ..penalties._spectral_norm import SpectralNorm
from ..penalties._wasserstein_init import WassersteinInit
from ..transforms.weights._hare_tortoise import HareTortoise
from ..transforms.weights._normalize_project import NormalizeProject
from ..transforms.weights._reset import Reset
from ..transforms.weights._shrink_perturb import ShrinkPerturb


Number = float | Float[Array, ""]


def snp(lr: Number | Optimiser = 1e-2, *, noise: Number = 1e-5, period: int = 1) -> Algorithm:
    """Perturb: Gaussian noise of deviation `noise` on every parameter after every step.

    The agent `snp` of the paper's comparison: shrink and perturb with nothing that shrinks. With
    `every=n` the noise of n steps is added at once, with the same variance and 1/n of the cost.
    (Other versions: `ShrinkPerturb`.)

    **Raises:** `ValueError` for a negative noise or, when training starts, for an `period` that
    does not divide the minibatches of a chunk.
    """
    return Algorithm(optimiser_of(lr), transforms=(_perturb(noise, period),))


def snp_l2(
    lr: Number | Optimiser = 1e-2,
    *,
    weight_decay: Number = 1e-3,
    noise: Number = 1e-5,
    period: int = 1,
) -> Algorithm:
    """Shrink and perturb as Dohare et al. (2024) use it: the penalty of `l2` shrinks, `snp`
    perturbs.

    **Raises:** as `snp` and `l2`.
    """
    return Algorithm(
        optimiser_of(lr), penalties=(L2(weight_decay),), transforms=(_perturb(noise, period),)
    )


def reset(
    lr: Number | Optimiser = 1e-2, *, part: Literal["network", "head"] = "network"
) -> Algorithm:
    """The baseline RESET: a new network and optimiser at the start of every task; or only a new
    output layer, with `part="head"`.

    **Raises:** `ValueError` for an unknown part.
    """
    return Algorithm(optimiser_of(lr), transforms=(Reset(part=part),))


def l2_init(lr: Number | Optimiser = 1e-2, *, strength: Number = 1e-3) -> Algorithm:
    """Regenerative regularisation (Kumar et al., 2023): the penalty
    (strength / 2) ||theta - theta_0||^2 towards the initial weights. Variants: `L2Init`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(L2Init(strength),))


def wasserstein(lr: Number | Optimiser = 1e-2, *, strength: Number = 1.0) -> Algorithm:
    """The penalty strength ||sort(theta) - sort(theta_0)||^2 / n, summed over arrays (Lewandowski
    et al., 2023). As a mean over n entries it needs a strength far above that of `l2_init`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(WassersteinInit(strength),))


def spectral_reg(lr: Number | Optimiser = 1e-2, *, strength: Number = 1e-3) -> Algorithm:
    """Spectral regularisation (Lewandowski et al., 2024): the penalty strength (sigma^2 - 1)^2 on
    the largest singular value of every weight matrix. See `SpectralNorm`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(SpectralNorm(strength),))


def parseval(lr: Number | Optimiser = 1e-2, *, strength: Number = 1e-3) -> Algorithm:
    """Parseval regularisation (Chung et al., 2024): rows of hidden layers are kept orthogonal, of
    squared norm 2. See `Parseval`.

    **Raises:** `ValueError` for a negative strength.
    """
    return Algorithm(optimiser_of(lr), penalties=(Parseval(strength),))


def layernorm_l2(lr: Number | Optimiser = 1e-2, *, weight_decay: Number = 1e-3) -> Algorithm:
    """`l2` for a network with a norm before every activation (Lyle et al., 2023), as
    `MLP(..., layer_norm=True)` makes one.

    **Raises:** as `l2`; `ValueError`, when training starts, for a hidden layer without a norm.
    """
    return Algorithm(optimiser_of(lr), penalties=(L2(weight_decay),), transforms=(NeedsNorm(),))


def nap(lr: Number | Optimiser = 1e-2, *, period: int = 1) -> Algorithm:
    """Normalise and project (Lyle et al., 2024): every `period` steps each weight matrix gets its
    initial norm back, in a network with a norm before every activation. See `NormalizeProject`.

    **Raises:** `ValueError`, when training starts, for a hidden layer without a norm, or an
    `period` that does not divide the minibatches of a chunk.
    """
    return Algorithm(
        optimiser_of(lr), transforms=(NeedsNorm(), Periodic(NormalizeProject(), period))
    )


def upgd(
    lr: Number = 1e-2,
    *,
    utility_decay: Number = 0.999,
    noise: Number = 1e-3,
    weight_decay: Number = 1e-3,
    scope: Literal["global", "local"] = "global",
) -> Algorithm:
    """Utility-based perturbed gradient descent (Elsayed & Mahmood, 2024). See `perturbed_sgd` for
    the formula, and `perturbed_adam`. `weight_decay` here is decoupled: theta <- (1 - lr w) theta.

    **Raises:** `ValueError` for a rate that is not positive, a decay outside [0, 1), a negative
    noise or weight decay, or an unknown scope; `TypeError` for an optimiser in its place.
    """
    if isinstance(lr, Optimiser):
        raise TypeError(
            "`lr` is an optimiser, but UPGD is one itself: pass a learning rate, or write "
            "`Algorithm(Optimiser(perturbed_adam, learning_rate=...))` for its Adam."
        )
    check_above("lr", lr, 0)
    check_fraction("utility_decay", utility_decay, strict=True)
    check_above("noise", noise, 0, strict=False)
    check_above("weight_decay", weight_decay, 0, strict=False)
    array = lambda x: jnp.asarray(x, dtype=float)
    optimiser = Optimiser(
        perturbed_sgd,
        learning_rate=array(lr),
        utility_decay=array(utility_decay),
        noise=array(noise),
        weight_decay=array(weight_decay),
        scope=scope,
    )
    return Algorithm(optimiser)


def hare_tortoise(
    lr: Number | Optimiser = 1e-2, *, decay: Number = 0.99, period: int = 500
) -> Algorithm:
    """Hare and tortoise (Lee et al., 2024): every `period` steps the network returns to the running
    mean of its weights. See `HareTortoise`. Published with a decay of 0.999 and thousands of steps
    between returns; a mean that is not shorter than the period would hold the network back.

    **Raises:** `ValueError` for a decay outside [0, 1] or, when training starts, for an `period`
    that does not fit the chunk.
    """
    return Algorithm(optimiser_of(lr), transforms=(HareTortoise(decay=decay, period=period),))


def _perturb(noise: Number, period: int) -> Periodic:
    return Periodic(ShrinkPerturb(noise=noise, steps=period), period)
