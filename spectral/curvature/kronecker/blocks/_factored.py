"""A block with two Kronecker factors."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._block import AbstractProducts
from ._factor import Factor, square_of, values_of, vectors_of
from ._rotated import RotatedBlock


class FactoredBlock(AbstractProducts):
    """B kron A: the map M -> B M A."""

    inputs: Float[Array, "inputs inputs"]  # A
    outputs: Float[Array, "outputs outputs"]  # B
    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.outputs.shape[0], self.inputs.shape[0]

    @property
    def products(self) -> tuple[tuple[Factor, Array], ...]:
        return ((self.outputs, self.inputs),)

    def product(self, matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
        return self.outputs @ matrix @ self.inputs

    def trace(self) -> Float[Array, ""]:
        return jnp.trace(self.inputs) * jnp.trace(self.outputs)

    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        (a, of_inputs), (b, of_outputs) = square_of(self.inputs), square_of(self.outputs)
        return a * b, of_inputs + of_outputs

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        a, b = values_of(self.inputs), values_of(self.outputs)
        return (a, b) if a.size >= b.size else (b, a)

    def inverse(self, damping: Float[Array, ""]) -> RotatedBlock:
        (a, input_vectors), (b, output_vectors) = self.eigenvectors()
        return RotatedBlock(
            input_vectors=input_vectors,
            output_vectors=output_vectors,
            values=1 / (b[:, None] * a[None] + damping),
            name=self.name,
            leaves=self.leaves,
        )

    def within(
        self, columns: Bool[np.ndarray, " columns"], leaves: tuple[int, ...]
    ) -> "FactoredBlock":
        inputs = self.inputs[np.ix_(columns, columns)]
        return dataclasses.replace(self, inputs=inputs, leaves=leaves)

    def eigenvectors(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (a, u), (b, v) = vectors_of(self.inputs), vectors_of(self.outputs)
        assert u is not None  # both factors are matrices
        assert v is not None
        return (a, u), (b, v)
