"""Estimators without a derivative say so."""

from typing import Any

import jax
from jaxtyping import Array, Float


@jax.custom_jvp
def no_derivative(image: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """The same numbers. Whoever differentiates them is told why that does not work.

    **Raises:** `TypeError` if the result is differentiated.
    """
    return image


@no_derivative.defjvp
def _raise(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "A result of this estimator was differentiated, but it has no derivative: it forgets "
        "vectors that reverse mode would need, and rounding decides where Lanczos restarts. Use "
        "`Hutchinson` for a trace, or `Dense`, `GramEigh` or `KroneckerEigh` for another mean over "
        "all eigenvalues. The derivative of one eigenvalue is that of y . A y with its eigenvector "
        "y, from `extreme_eigenpairs`, held constant."
    )
