"""Corollary B.4 as printed."""

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..curvature._number import Number
from ..curvature._weyl import descending, eigenvalue_floor, same_size


def weyl(
    eigenvalues: Real[ArrayLike, " dim"], residual_eigenvalues: Real[ArrayLike, " residual"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Equation (35) as printed; false: lower and upper bounds on the eigenvalues of G + R.

    |lambda_i(G + R) - lambda_i(R)| <= ||R||. It has lambda_i(R) in place of lambda_i(G). For R = 0
    it says that G is 0. `spectral.theory.eigenvalue_floor` holds.

    **Raises:** `ValueError` if there are no eigenvalues, or the two numbers of eigenvalues differ.
    """
    _, r = same_size(eigenvalues, residual_eigenvalues)
    norm = np.max(np.abs(r))
    return r - norm, r + norm


def smallest_positive_floor(
    eigenvalues: Real[ArrayLike, " dim"],
    residual_norm: Number,
    *,
    weight_decay: Number = 0.0,
) -> float:
    """Equations (38) to (40) as printed; false: a lower bound on the smallest positive eigenvalue.

    lambda+_min(H + w I) >= lambda+_min(G) - ||R|| + w. The residual turns zero eigenvalues of G
    into small positive ones. For G = diag(1, 0) and R = diag(0, 0.01) the smallest positive
    eigenvalue of H is 0.01, but the bound is 0.99. `spectral.theory.eigenvalue_floor` holds.

    **Raises:** `ValueError` as `eigenvalue_floor`, and if no eigenvalue is positive.
    """
    floor = eigenvalue_floor(eigenvalues, residual_norm, weight_decay=weight_decay)
    positive = floor[descending("eigenvalues", eigenvalues) > 0]
    if positive.size == 0:
        raise ValueError(
            "None of the `eigenvalues` is positive, but Corollary B.4 as printed has the "
            "hypothesis that one is: use `spectral.theory.eigenvalue_floor`."
        )
    return float(positive[-1])
