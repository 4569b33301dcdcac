"""Corollary B.4 as printed."""

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..curvature._weyl import descending, eigenvalue_floor, Number


def weyl(
    eigenvalues: Real[ArrayLike, " dim"], residual_eigenvalues: Real[ArrayLike, " residual"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Equation (35) as printed; false: lower and upper bounds for the eigenvalues of G + R.

    |lambda_i(G + R) - lambda_i(R)| <= ||R||: it has lambda_i(R) in the place of lambda_i(G). With
    R = 0 it says that G is 0.

    **Raises:** `ValueError` for no eigenvalues, or different numbers of them.
    """
    g, r = descending(eigenvalues), descending(residual_eigenvalues)
    if g.size != r.size:
        raise ValueError(
            f"There are {g.size} `eigenvalues` and {r.size} `residual_eigenvalues`, but the "
            "matrices act on the same parameters: pass all eigenvalues of both."
        )
    norm = np.max(np.abs(r))
    return r - norm, r + norm


def smallest_positive_floor(
    eigenvalues: Real[ArrayLike, " dim"],
    residual_norm: Number,
    *,
    weight_decay: Number = 0.0,
) -> float:
    """Equations (38) to (40) as printed; false: a lower bound for the smallest positive eigenvalue.

    lambda+_min(H + w I) >= lambda+_min(G) - ||R|| + w. The residual makes small positive
    eigenvalues out of zeros of G: with G = diag(1, 0) and R = diag(0, 0.01) the smallest positive
    eigenvalue of H is 0.01, and not at least 0.99. Use `eigenvalue_floor`.

    **Raises:** `ValueError` as `eigenvalue_floor`, and where no eigenvalue is positive.
    """
    floor = eigenvalue_floor(eigenvalues, residual_norm, weight_decay=weight_decay)
    positive = floor[descending(eigenvalues) > 0]
    if positive.size == 0:
        raise ValueError(
            "Corollary B.4 as printed has the hypothesis that one of the `eigenvalues` is "
            "positive, but none is: it says nothing here."
        )
    return float(positive[-1])
