"""Sign descent with steps in proportion to the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ..._base._optimiser import Optimiser
from .._base._arguments import as_learning_rate, LearningRate, Number


def scale_by_proportional_sign(learning_rate: Number) -> optax.GradientTransformation:
    """The update -lr |theta| sign(g) as an optax transformation. It keeps no state."""

    def init(params: PyTree) -> optax.EmptyState:
        return optax.EmptyState()

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        steps = lambda g, p: -learning_rate * jnp.abs(p) * jnp.sign(g)
        return jax.tree.map(steps, updates, params), state

    return optax.GradientTransformation(init, update)


def proportional_sign(lr: LearningRate = 1e-2) -> Optimiser:
    """Takes the steps -lr |theta| sign(g) in each weight theta with the gradient g.

    It respects the rescaling of ReLU units, which SGD and Adam do not: where the weights of a unit
    are multiplied by a > 0 (and its outgoing weights divided by a), their gradients are divided by
    a, and the step is multiplied by a. So two networks that `spectral.models.rescaled` turns into
    one another stay the same function for ever, up to rounding, whatever their Hessians are. Signs
    do not change, and a weight that is zero, such as an initial bias, stays zero.

    Every recipe accepts it as `lr`.

    **Raises:** `ValueError` for an `lr` that is not positive.

    ```python
    algorithms.bp(algorithms.proportional_sign(1e-2))
    ```
    """
    return Optimiser(scale_by_proportional_sign, learning_rate=as_learning_rate("lr", lr))
