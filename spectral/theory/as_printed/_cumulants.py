"""Equation (6) as printed."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..curvature._cumulants import Block, check_centred, cumulants


def cumulant_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Equation (6) as printed; false: its second term has a minus.

    **Raises:** `ValueError` as `cumulant_error`.
    """
    check_centred(inputs, gradients)
    fourth, third, mean = cumulants(inputs, gradients)
    first = jnp.einsum("i,jkl->ijkl", mean, third)
    second = jnp.einsum("j,ikl->ijkl", mean, third)
    return fourth - first + second
