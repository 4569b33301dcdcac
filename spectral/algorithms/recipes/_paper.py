"""The recipes of the paper: each is one expression."""

from ..._arguments import check_count
from .._base._algorithm import Algorithm
from .._base._arguments import as_positive, Number
from .._base._named import Names, optional_names
from .._base._periodic import Periodic
from ..optimisers._optimiser_of import LearningRateOrOptimiser, optimiser_of
from ..penalties._l2 import L2
from ..transforms.weights._effective_rank import EffectiveRank


def bp(lr: LearningRateOrOptimiser = 1e-2) -> Algorithm:
    """Backpropagation: plain stochastic gradient descent.

    Here and in every recipe except `upgd`, `lr` is the learning rate of plain stochastic gradient
    descent, as a number or a schedule such as `WarmupCosine`, or an optimiser to use instead, such
    as `adam(1e-4)`. A transformation of optax, such as `optax.adamw(1e-3)`, is taken as it is: its
    numbers are constants of the program, so every new one compiles again.

    The default is the paper's fixed learning rate for Permuted MNIST (Table 2).

    **Raises:** `ValueError` for an `lr` that is not positive; `TypeError` for a function such as
    `optax.adam` instead of a transformation.

    ```python
    algorithms.bp(optax.adamw(1e-3))  # numbers are constants
    algorithms.bp(Optimiser(optax.adamw, learning_rate=1e-3))  # numbers are data
    ```
    """
    return Algorithm(optimiser_of(lr))


def l2(lr: LearningRateOrOptimiser = 1e-2, *, weight_decay: Number = 1e-3) -> Algorithm:
    """Stochastic gradient descent with an L2 penalty: gradient + w theta, with w `weight_decay`.

    The penalty is (w/2) ||theta||^2, as in PyTorch, in optax and in the paper's published settings.
    The paper's formula lambda ||theta||^2 (Appendix D.1) has lambda = w/2. The defaults are the
    paper's best for Permuted MNIST at the fixed learning rate (Table 2).

    **Raises:** `ValueError` for an `lr` that is not positive or a negative weight decay.
    """
    return Algorithm(optimiser_of(lr), penalties=(L2(weight_decay),))


def er(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    er_lr: Number = 1e-3,
    er_period: int = 100,
    er_window: int | None = None,
    er_layers: Names | None = None,
) -> Algorithm:
    """Stochastic gradient descent with an effective-rank step every `er_period` steps (Algorithm 1
    without its L2 term).

    This is a plain gradient step with learning rate `er_lr` that raises the mean effective rank of
    the features of the last `er_window` minibatches, by default of all minibatches since the
    previous one. `er_layers` are the names of the layers, by default all dense hidden layers; in a
    transformer the hidden units of every block and the residual stream after the last, see
    `EffectiveRank`. The defaults are the paper's best for Permuted MNIST at the fixed learning rate
    (Tables 1 and 2).

    **Raises:** `ValueError` for an `lr` or `er_lr` that is not positive or for a window larger than
    the period; when training starts, for an `er_period` that does not fit the chunk or an
    `er_window` that does not divide it.
    """
    er_step = _er_step(er_lr, er_period, er_window, er_layers)
    return Algorithm(optimiser_of(lr), transforms=(er_step,))


def l2_er(
    lr: LearningRateOrOptimiser = 1e-2,
    *,
    er_lr: Number = 1e-3,
    er_period: int = 100,
    er_window: int | None = None,
    er_layers: Names | None = None,
    weight_decay: Number = 1e-3,
) -> Algorithm:
    """L2-ER (Algorithm 1): the penalty of `l2` at every step and the effective-rank step of `er`
    every `er_period` steps.

    `weight_decay=w` adds w theta to the gradient, so the lambda of Algorithm 1 is w/2. The defaults
    are the paper's best for Permuted MNIST at the fixed learning rate (Tables 1 and 2).

    **Raises:** as `l2` and `er`.

    ```python
    algorithms.l2_er(lr=0.03, er_lr=1e-3, weight_decay=2e-3, er_period=50)
    ```
    """
    er_step = _er_step(er_lr, er_period, er_window, er_layers)
    return Algorithm(optimiser_of(lr), penalties=(L2(weight_decay),), transforms=(er_step,))


def _er_step(
    er_lr: Number, er_period: int, er_window: int | None, er_layers: Names | None
) -> Periodic:
    check_count("er_period", er_period)
    window = er_period if er_window is None else er_window
    check_count("er_window", window)
    if window > er_period:
        raise ValueError(
            f"`er_window` is {window}, but must be at most `er_period`, which is {er_period}: the "
            "window holds only minibatches since the previous effective-rank step."
        )
    # Checked here as well, so that a message names the argument of the recipe.
    layers = optional_names("er_layers", er_layers)
    return Periodic(EffectiveRank(as_positive("er_lr", er_lr), window, layers=layers), er_period)
