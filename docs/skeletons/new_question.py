"""A new question: one file in `curvature/spectra/`, tested in `tests/curvature/test_questions.py`.

A question is a pure function of a spectrum. It uses `mean`, `mass_above`, `mass_below` and `range`,
so it works for every kind of spectrum.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spectral.curvature import AbstractSpectrum, Dense, Matrix


def negative_fraction(spectrum: AbstractSpectrum) -> Float[Array, ""]:
    """The fraction of eigenvalues below 0, averaged over the random vectors."""
    return jnp.mean(spectrum.mass_below(0.0).value)


if __name__ == "__main__":
    matrix = Matrix(jnp.diag(jnp.array([-1.0, 1.0, 2.0, 3.0])))
    print(negative_fraction(Dense()(matrix, key=jax.random.key(0))))  # 0.25
