"""The recipes of the paper: each is one expression."""

from jaxtyping import Array, Float

from ..._arguments import check_above, check_count
from ..._types import Optimiser
from .._base._algorithm import Algorithm
from .._base._periodic import Periodic
from ..optimisers._sgd import optimiser_of
from ..penalties._l2 import L2
from ..transforms.weights._effective_rank import EffectiveRank


Number = float | Float[Array, ""]


def bp(lr: Number | Optimiser = 1e-2) -> Algorithm:
    """Backpropagation: plain stochastic gradient descent.

    Here and in every recipe but `upgd`, `lr` may also be an optimiser, such as `adam(1e-4)`, in
    place of plain stochastic gradient descent at that rate.

    The default is the paper's fixed learning rate for Permuted MNIST (Table 2).

    **Raises:** `ValueError` for a learning rate that is not positive.
    """
    return Algorithm(optimiser_of(lr))


def l2(lr: Number | Optimiser = 1e-2, *, weight_decay: Number = 1e-3) -> Algorithm:
    """Stochastic gradient descent with an L2 penalty: gradient + w theta, with w `weight_decay`.

    The penalty is (w/2) ||theta||^2, as in PyTorch, in optax and in the paper's published settings;
    the lambda of the paper's formula lambda ||theta||^2 (Appendix D.1) is w/2. The defaults are the
    paper's best for Permuted MNIST at the fixed learning rate (Table 2).

    **Raises:** `ValueError` for a learning rate that is not positive or a negative weight decay.
    """
    return Algorithm(optimiser_of(lr), penalties=(L2(weight_decay),))


def er(
    lr: Number | Optimiser = 1e-2,
    *,
    er_lr: Number = 1e-3,
    er_period: int = 100,
    er_window: int | None = None,
) -> Algorithm:
    """Stochastic gradient descent, and every `er_period` steps one plain gradient step of rate
    `er_lr` that raises the mean effective rank of the features of the last `er_window` minibatches,
    by default all since the step before (Algorithm 1 without its L2 term).

    The defaults are the paper's best for Permuted MNIST at the fixed learning rate (Tables 1, 2).

    **Raises:** `ValueError` for a rate that is not positive or, when training starts, for an
    `er_period` or an `er_window` that does not divide the minibatches of a chunk.
    """
    return Algorithm(optimiser_of(lr), transforms=(_er_step(er_lr, er_period, er_window),))


def l2_er(
    lr: Number | Optimiser = 1e-2,
    *,
    er_lr: Number = 1e-3,
    er_period: int = 100,
    er_window: int | None = None,
    weight_decay: Number = 1e-3,
) -> Algorithm:
    """L2-ER (Algorithm 1): the penalty of `l2` on every step and the effective-rank step of `er`
    every `er_period` steps.

    `weight_decay=w` adds w theta to the gradient, so the lambda of Algorithm 1 is w/2. The defaults
    are the paper's best for Permuted MNIST at the fixed learning rate (Tables 1 and 2).

    **Raises:** as `l2` and `er`.

    ```python
    algorithms.l2_er(lr=0.03, er_lr=1e-3, weight_decay=2e-3, er_period=50)
    ```
    """
    return Algorithm(
        optimiser_of(lr),
        penalties=(L2(weight_decay),),
        transforms=(_er_step(er_lr, er_period, er_window),),
    )


def _er_step(er_lr: Number, er_period: int, er_window: int | None) -> Periodic:
    check_above("er_lr", er_lr, 0)
    check_count("er_period", er_period)
    window = er_period if er_window is None else er_window
    check_count("er_window", window)
    if window > er_period:
        raise ValueError(
            f"`er_window` is {window}, but must be at most `er_period`, which is {er_period}: only "
            "minibatches since the step before are taken."
        )
    return Periodic(EffectiveRank(er_lr, window=window), period=er_period)
