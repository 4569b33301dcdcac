"""GELU."""

import jax
from jaxtyping import Array, Float

from ._activation import Elementwise


def gelu(*, exact: bool = False) -> Elementwise:
    """x times the probability that a standard normal number is below x (Hendrycks & Gimpel, 2016).

    By default the approximation by tanh, as in GPT-2; with `exact` the error function, as in ViT.

    ```python
    gelu()(jnp.array([-1.0, 1.0]))   # [-0.159, 0.841]
    ```
    """
    return Elementwise(_exact_gelu if exact else _tanh_gelu)


def _tanh_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.gelu(x, approximate=True)


def _exact_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.gelu(x, approximate=False)
