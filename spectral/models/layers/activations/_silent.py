"""Activations that are 0 below 0."""

import jax
import jax.numpy as jnp

from ._activation import AbstractActivation, Elementwise


def silent_below_zero(activation: AbstractActivation) -> bool:
    """Whether a function of one number is exactly 0 at -1, as ReLU is, so that a unit can be dead.

    Activations that are not an `Elementwise` are not: they have parameters, or pass negative
    numbers in training.

    ```python
    silent_below_zero(Elementwise(jax.nn.relu))  # True
    ```
    """
    if not isinstance(activation, Elementwise):
        return False
    with jax.ensure_compile_time_eval():
        return bool(activation(jnp.asarray([-1.0]))[0] == 0)
