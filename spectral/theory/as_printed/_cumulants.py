"""Equation (6) as printed."""

from jaxtyping import Array, Float

from ..curvature._cumulants import Block, error_terms


def cumulant_error(
    inputs: Float[Array, "samples inputs"], gradients: Float[Array, "samples outputs"]
) -> Block:
    """Equation (6) as printed; false because its second term has a minus sign.

    For the samples x = 2 with g = 1 and g = -1, and x = 0 twice with g = 0, the error of the
    factorisation is 1 and this formula gives 0. `spectral.theory.cumulant_error` holds.

    **Raises:** `ValueError` as `spectral.theory.cumulant_error`.
    """
    fourth, first, second = error_terms(inputs, gradients)
    return fourth - first + second
