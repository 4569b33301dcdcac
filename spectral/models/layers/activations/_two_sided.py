"""Activations with two outputs for each unit."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._activation import AbstractActivation


class CReLU(AbstractActivation):
    """[relu(x), relu(-x)]: one of the two activations of a unit is positive unless x is 0.

    Shang et al. (2016); for loss of plasticity, Abbas et al. (2023). The next layer has two
    inputs per unit.

    ```python
    CReLU()(jnp.array([1.0, -2.0]))   # [1, 0, 0, 2]
    ```
    """

    copies: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        return jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)], axis=-1)

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "CReLU":
        return self


class DeepFourier(AbstractActivation):
    """[sin(x), cos(x)]: one of the two is always close to linear.

    Lewandowski et al., *Plastic Learning with Deep Fourier Features* (2024). The next layer has
    two inputs per unit; halve the width to keep the number of activations of a ReLU network.
    """

    copies: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "... units"], /) -> Float[Array, "... activations"]:
        return jnp.concatenate([jnp.sin(x), jnp.cos(x)], axis=-1)

    def fresh(self, num_units: int, *, key: PRNGKeyArray) -> "DeepFourier":
        return self
