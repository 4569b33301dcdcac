"""Stochastic gradient descent."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..._arguments import check_above
from ..._types import Optimiser


def sgd(
    lr: float | Float[Array, ""] = 1e-2, *, momentum: float | Float[Array, ""] | None = None
) -> Optimiser:
    """Stochastic gradient descent, with momentum where it is given.

    Every recipe takes it in place of a learning rate, which is `sgd(lr)`.

    **Raises:** `ValueError` for a rate that is not positive or a negative momentum.

    ```python
    algorithms.l2(sgd(1e-2, momentum=0.9), weight_decay=1e-4)
    ```
    """
    check_above("lr", lr, 0)
    # As arrays: the integer 1 would otherwise become part of the program.
    rate = jnp.asarray(lr, dtype=float)
    if momentum is None:
        return Optimiser(optax.sgd, learning_rate=rate)
    check_above("momentum", momentum, 0, strict=False)
    return Optimiser(optax.sgd, learning_rate=rate, momentum=jnp.asarray(momentum, dtype=float))


def optimiser_of(lr: float | Float[Array, ""] | Optimiser) -> Optimiser:
    """The optimiser that a recipe is given, or stochastic gradient descent at the rate `lr`.

    **Raises:** `ValueError` for a rate that is not positive.
    """
    return lr if isinstance(lr, Optimiser) else sgd(lr)
