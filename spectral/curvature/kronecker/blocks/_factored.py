"""A block with two Kronecker factors."""

import dataclasses

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from ._factor import Factor, vectors_of
from ._pair import AbstractPair
from ._rotated import RotatedBlock


class FactoredBlock(AbstractPair):
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
