"""A new theorem: one file in the shelf of `theory/` that it belongs to, and a property test in
`tests/theory/` that names the wrong implementation it would catch.

A theorem is a function that checks its hypotheses and returns the bound.
"""

import numpy as np
from jaxtyping import ArrayLike, Float


def gershgorin_bound(matrix: Float[ArrayLike, "dim dim"]) -> float:
    """The largest row sum of |matrix|: an upper bound on every |eigenvalue| (Gershgorin, 1931).

    **Raises:** `ValueError` if the matrix is not square.
    """
    array = np.asarray(matrix, np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(
            f"`matrix` has the shape {array.shape}, but Gershgorin's theorem is about square "
            "matrices: pass one."
        )
    return float(np.abs(array).sum(axis=1).max())


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for _ in range(
        100
    ):  # in a test: hypothesis, with the strategies of `spectral.theory.strategies`
        a = rng.normal(size=(4, 4))
        assert np.abs(np.linalg.eigvals(a)).max() <= gershgorin_bound(a) + 1e-12
    print("holds on 100 random matrices")
