"""Corollary B.4 as printed."""

import numpy as np
from jaxtyping import ArrayLike, Float, Real

from ..curvature._number import Number
from ..curvature._weyl import descending, eigenvalue_floor, same_size


def weyl(
    eigenvalues: Real[ArrayLike, " dim"], residual_eigenvalues: Real[ArrayLike, " residual"]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Equation (35) as printed; false: lower and upper bounds on the eigenvalues of G + R.

    |lambda_i(G + R) - lambda_i(R)| <= ||R||. This is a misprint: it has lambda_i(R) in place of
    lambda_i(G), and for R = 0 it says that G is 0. The next line of the paper, (36), has
    lambda_i(G) and is right; it is `spectral.theory.eigenvalue_floor`. `spectral.theory.weyl` has
    the bounds from both spectra.

    **Raises:** `ValueError` as `spectral.theory.weyl`.
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
    """Equations (38) to (40) as printed: a lower bound on the smallest positive eigenvalue; false
    if lambda+_min(H) is the smallest positive eigenvalue of H.

    lambda+_min(H + w I) >= lambda+_min(G) - ||R|| + w. The residual turns zero eigenvalues of G
    into small positive ones. A network of one ReLU, z = v relu(w x) with w = v = x = 1, and the
    target 1.01 under half the squared error: G has the eigenvalues 2 and 0 and ||R|| is 0.01, so
    the bound is 1.99. The eigenvalues of H are 1.99 and 0.01.

    The equations hold if lambda+_min means the eigenvalue with the index rank(G), for G and H
    alike: this is the entry rank(G) of `spectral.theory.eigenvalue_floor`.

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
