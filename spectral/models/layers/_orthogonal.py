"""Orthogonal initialisation."""

import math
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from ._initialisers import AbstractInitialiser


class Orthogonal(AbstractInitialiser):
    """`scale` times a random matrix with orthonormal rows (or columns, if there are fewer of them),
    zero biases (Saxe et al., 2014).

    Policies trained by PPO often use a scale of sqrt(2) in hidden layers, 0.01 in the layer of the
    actions and 1 in the layer of the value. A convolution is a matrix with one row per output.

    **Raises:** `ValueError` if `scale` is not positive.
    """

    _: KW_ONLY
    scale: float = eqx.field(static=True, default=2**0.5)

    def __check_init__(self):
        check_above("scale", self.scale, 0)

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        draw = jax.nn.initializers.orthogonal(self.scale, column_axis=0)
        return draw(key, shape), jnp.zeros(shape[0])

    def rows(
        self, key: PRNGKeyArray, shape: tuple[int, ...], total: int
    ) -> Float[Array, "rows in *kernel"]:
        """Draws rows, each from a separate matrix with `total` rows."""
        inputs = math.prod(shape[1:])
        # With fewer columns than rows, a row is part of a row of a square orthogonal matrix.
        direction = jax.random.normal(key, (shape[0], max(total, inputs)))
        direction /= jnp.linalg.norm(direction, axis=1, keepdims=True)
        return self.scale * direction[:, :inputs].reshape(shape)
