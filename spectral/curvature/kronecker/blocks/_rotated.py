"""A block that is known by its eigenvectors."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._block import AbstractBlock
from ._factor import square_of


class RotatedBlock(AbstractBlock):
    """A diagonal matrix in a basis of Kronecker products: M -> V (L o (V^T M U)) U^T."""

    input_vectors: Float[Array, "columns columns"]  # U
    output_vectors: Float[Array, "rows rows"] | None  # V; `None` for the identity
    values: Float[Array, "rows columns"]  # L, its eigenvalues
    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def product(self, matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
        u, v = self.input_vectors, self.output_vectors
        if v is None:
            return (self.values * (matrix @ u)) @ u.T
        return v @ (self.values * (v.T @ matrix @ u)) @ u.T

    def trace(self) -> Float[Array, ""]:
        return jnp.sum(self.values)

    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        return square_of(self.values)

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        return jnp.sort(self.values, axis=None), jnp.ones(1, self.values.dtype)

    def inverse(self, damping: Float[Array, ""]) -> "RotatedBlock":
        return eqx.tree_at(lambda block: block.values, self, 1 / (self.values + damping))

    def within(
        self, columns: Bool[np.ndarray, " columns"], leaves: tuple[int, ...]
    ) -> "RotatedBlock":
        if not columns.all():
            raise ValueError(
                f"The block keeps the layer {self.name} in part, but the eigenvectors of `EKFAC` "
                "and of damped inverses belong to whole layers: keep all of its arrays, or use "
                "another estimator, such as `Lanczos()`."
            )
        return dataclasses.replace(self, leaves=leaves)
