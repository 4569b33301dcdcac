"""Adam with a step count for every entry."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..._arguments import check_above, check_fraction
from ..._types import Optimiser


class EntrywiseAdamState(NamedTuple):
    mean: PyTree
    square: PyTree
    # b1^t and b2^t with t the steps of the entry. Counts would need two powers per entry and step.
    mean_bias: PyTree
    square_bias: PyTree


def entrywise_adam(
    learning_rate: float | Float[Array, ""],
    *,
    b1: float | Float[Array, ""] = 0.9,
    b2: float | Float[Array, ""] = 0.999,
    eps: float | Float[Array, ""] = 1e-8,
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, 2015) as an optax transformation that counts the steps of every entry.

    It takes the steps of `optax.adam`. But there the bias corrections come from one count for all
    entries, so that an entry whose moments are forgotten goes on with a step of
    (1 - b1) / sqrt(1 - b2) = 3.2 times the learning rate; here its count is forgotten with them.
    The price is the memory of two more copies of the parameters.
    """

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
    lr: float | Float[Array, ""] = 1e-3,
    *,
    b1: float | Float[Array, ""] = 0.9,
    b2: float | Float[Array, ""] = 0.999,
    eps: float | Float[Array, ""] = 1e-8,
) -> Optimiser:
    """Adam that can forget single entries exactly; see `entrywise_adam`.

    Every recipe takes it in place of a learning rate.

    **Raises:** `ValueError` for a rate or an eps that is not positive, or a beta outside [0, 1).

    ```python
    algorithms.cbp(adam(1e-4), replacement_rate=1e-4)
    ```
    """
    check_above("lr", lr, 0)
    check_above("eps", eps, 0)
    check_fraction("b1", b1, strict=True)
    check_fraction("b2", b2, strict=True)
    array = lambda x: jnp.asarray(x, dtype=float)
    return Optimiser(
        entrywise_adam, learning_rate=array(lr), b1=array(b1), b2=array(b2), eps=array(eps)
    )
