"""Adam and AdamW with a separate step count for every entry."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ..._arguments import check_above
from ..._base._optimiser import Optimiser
from .._base._arguments import (
    as_fraction,
    as_learning_rate,
    as_non_negative,
    as_positive,
    check_adam,
    LearningRate,
    Number,
)


class EntrywiseAdamState(NamedTuple):
    """The moments of every entry, and the powers that correct their bias."""

    mean: PyTree
    square: PyTree
    # b1^t and b2^t, with t the number of steps of the entry. Storing t instead would cost two
    # powers per entry and step.
    mean_bias: PyTree
    square_bias: PyTree


def entrywise_adam(
    learning_rate: Number, *, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, 2015) as an optax transformation that counts the steps of every entry.

    It takes the same steps as `optax.adam`, which corrects the bias of all entries by one count. If
    the moments of an entry are forgotten there, its next step is
    (1 - b1) / sqrt(1 - b2) = 3.2 times the learning rate. Here its count is forgotten with them.
    This needs memory for two more copies of the parameters.

    **Raises:** `ValueError` for a negative `learning_rate`, a beta outside [0, 1) or an `eps` that
    is not positive.
    """
    check_adam(learning_rate, b1, b2, eps)

    def init(params: PyTree) -> EntrywiseAdamState:
        zeros, ones = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.ones_like, params)
        return EntrywiseAdamState(zeros, zeros, ones, ones)

    def update(
        updates: PyTree, state: Any, params: PyTree = None
    ) -> tuple[PyTree, EntrywiseAdamState]:
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.square, updates)
        mean_bias = jax.tree.map(lambda x: x * b1, state.mean_bias)
        square_bias = jax.tree.map(lambda x: x * b2, state.square_bias)

        def step(m, v, p, q):
            return -learning_rate * (m / (1 - p)) / (jnp.sqrt(v / (1 - q)) + eps)

        moved = jax.tree.map(step, mean, square, mean_bias, square_bias)
        return moved, EntrywiseAdamState(mean, square, mean_bias, square_bias)

    return optax.GradientTransformation(init, update)


def adam(
    lr: LearningRate = 1e-3, *, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8
) -> Optimiser:
    """Adam that can forget single entries exactly; see `entrywise_adam`.

    Every recipe accepts it as `lr`.

    **Raises:** `ValueError` for an `lr` or `eps` that is not positive, or a beta outside [0, 1).

    ```python
    algorithms.cbp(adam(1e-4), replacement_rate=1e-4)
    ```
    """
    return Optimiser(
        entrywise_adam,
        learning_rate=as_learning_rate("lr", lr),
        b1=as_fraction("b1", b1, below_one=True),
        b2=as_fraction("b2", b2, below_one=True),
        eps=as_positive("eps", eps),
    )


def entrywise_adamw(
    learning_rate: Number,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 1e-2,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, 2019): the steps of `entrywise_adam`, and
    -learning_rate weight_decay theta.

    The decay is decoupled: it is not divided by the second moments. It acts on all parameters, as
    in `optax.adamw` and PyTorch.

    **Raises:** `ValueError` as `entrywise_adam`, or for a negative weight decay.
    """
    check_above("weight_decay", weight_decay, 0, strict=False)
    own = entrywise_adam(learning_rate, b1=b1, b2=b2, eps=eps)

    def update(
        updates: PyTree, state: Any, params: PyTree = None
    ) -> tuple[PyTree, EntrywiseAdamState]:
        moved, state = own.update(updates, state)
        decayed = lambda step, p: step - learning_rate * weight_decay * p
        return jax.tree.map(decayed, moved, params), state

    return optax.GradientTransformation(own.init, update)


def adamw(
    lr: LearningRate = 1e-3,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 1e-2,
) -> Optimiser:
    """AdamW that can forget single entries exactly; see `entrywise_adamw`.

    Every recipe accepts it as `lr`. Its `weight_decay` is decoupled and is multiplied by the
    learning rate, also by that of a schedule; the one of `l2` is added to the gradient. With
    warm-up and cosine in each task it is the usual optimiser of transformers:

    ```python
    lr = WarmupCosine(1e-3, warmup_steps=10, decay_steps=100, restart="task")
    algorithms.cbp(adamw(lr, weight_decay=0.1))
    ```

    **Raises:** `ValueError` for an `lr` or `eps` that is not positive, a beta outside [0, 1), or a
    negative weight decay.
    """
    return Optimiser(
        entrywise_adamw,
        learning_rate=as_learning_rate("lr", lr),
        b1=as_fraction("b1", b1, below_one=True),
        b2=as_fraction("b2", b2, below_one=True),
        eps=as_positive("eps", eps),
        weight_decay=as_non_negative("weight_decay", weight_decay),
    )
