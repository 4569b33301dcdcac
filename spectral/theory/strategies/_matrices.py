"""Strategies for matrices."""

import hypothesis.strategies as st
import numpy as np
from jaxtyping import ArrayLike, Float

from ._numbers import numbers


def symmetric_matrices(*, size: int = 4) -> st.SearchStrategy[Float[np.ndarray, "size size"]]:
    """Draws symmetric matrices of multiples of 1/8."""
    return numbers(size, size).map(lambda a: (a + a.T) / 2)


def covariances(
    *, size: int = 3, num_samples: int = 4
) -> st.SearchStrategy[Float[np.ndarray, "n n"]]:
    """Draws positive semi-definite matrices of rank at most `num_samples`."""
    return numbers(num_samples, size).map(lambda a: a.T @ a)


def matrices_with_spectrum(
    eigenvalues: Float[ArrayLike, " size"],
) -> st.SearchStrategy[Float[np.ndarray, "size size"]]:
    """Draws symmetric matrices with the given eigenvalues, in drawn orthonormal bases.

    Matrices with one spectrum show what a spectrum does not decide. Their entries are rounded, as
    no entry is on a grid.
    """
    values = np.asarray(eigenvalues, np.float64)

    def rotated(drawn: np.ndarray) -> np.ndarray:
        basis, _ = np.linalg.qr(drawn)
        matrix = (basis * values) @ basis.T
        return (matrix + matrix.T) / 2

    return numbers(values.size, values.size).map(rotated)


def weight_matrices(*sizes: int) -> st.SearchStrategy[tuple[Float[np.ndarray, "out in"], ...]]:
    """Draws the weights `[out, in]` of a deep linear network with these sizes, from its inputs to
    its outputs. Some are rank-deficient."""
    return st.tuples(*(numbers(b, a) for a, b in zip(sizes[:-1], sizes[1:], strict=True)))
