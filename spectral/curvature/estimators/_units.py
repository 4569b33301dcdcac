"""Products with a matrix in units of a power of two, in which its entries are of the order of 1."""

from ..operators._operator import AbstractOperator, rescaled, ScaledProduct
from ._derivative import no_derivative


def scaled_product(operator: AbstractOperator) -> ScaledProduct:
    """Products with 2^-k A, where k is near the exponent of the entries of A v.

    Without it, squares of entries beyond 1e19, and those below 1e-19, are infinite or zero in
    float32.

    **Raises:** `TypeError` if an image is differentiated.
    """
    return rescaled(operator, no_derivative)
