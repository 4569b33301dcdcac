"""LeCun's uniform initialisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._initialisers import AbstractRowInitialiser


class LecunUniform(AbstractRowInitialiser):
    """Weights uniform on +-sqrt(3 / fan_in), zero biases (LeCun et al., 1998)."""

    def __call__(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "out in *kernel"], Float[Array, " out"]]:
        draw = jax.nn.initializers.lecun_uniform(in_axis=1, out_axis=0)
        return draw(key, shape), jnp.zeros(shape[0])
