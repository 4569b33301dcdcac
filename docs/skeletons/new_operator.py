"""A new operator: one file in `curvature/operators/`, one row in `tests/curvature_cases.py`.

An operator says which matrix. It states the structure of its vectors and its product.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from spectral.curvature import AbstractOperator, Dense, trace


class RankOne(AbstractOperator):
    """The matrix u u^T."""

    u: Float[Array, " dim"]

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.ShapeDtypeStruct(self.u.shape, self.u.dtype)

    def product(self) -> Callable[[PyTree], PyTree]:
        # Compute here, once, whatever does not depend on the vector.
        return lambda vector: self.u * jnp.vdot(self.u, vector)


if __name__ == "__main__":
    spectrum = Dense()(RankOne(jnp.array([3.0, 4.0])), key=jax.random.key(0))
    print(trace(spectrum).value)  # 25
