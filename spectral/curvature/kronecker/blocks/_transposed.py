"""The block of a matrix whose rows belong to inputs, such as an embedding."""

import dataclasses

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from ._factor import Factor, times_rows, vectors_of
from ._pair import AbstractPair
from ._rotated import RotatedBlock


class TransposedBlock(AbstractPair):
    """A kron B for a matrix `[inputs, outputs]`: the map M -> A M B.

    A is diagonal for an embedding, whose inputs are tokens: the entry of a token is the number of
    times that it is looked up, for each example. An array with an exact diagonal has it as A, and 1
    as B. The diagonal is held as a vector.
    """

    inputs: Factor  # A
    outputs: Float[Array, "outputs outputs"]  # B
    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.inputs.shape[0], self.outputs.shape[0]

    @property
    def products(self) -> tuple[tuple[Factor, Array], ...]:
        return ((self.inputs, self.outputs),)

    def product(self, matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
        return times_rows(self.inputs, matrix) @ self.outputs

    def inverse(self, damping: Float[Array, ""]) -> RotatedBlock:
        (b, output_vectors), (a, input_vectors) = self.eigenvectors()
        return RotatedBlock(
            input_vectors=output_vectors,
            output_vectors=input_vectors,
            values=1 / (a[:, None] * b[None] + damping),
            name=self.name,
            leaves=self.leaves,
        )

    def within(
        self, columns: Bool[np.ndarray, " columns"], leaves: tuple[int, ...]
    ) -> "TransposedBlock":
        outputs = self.outputs[np.ix_(columns, columns)]
        return dataclasses.replace(self, outputs=outputs, leaves=leaves)

    def eigenvectors(self) -> tuple[tuple[Array, Array], tuple[Array, Array | None]]:
        b, u = vectors_of(self.outputs)
        assert u is not None  # B is a matrix
        return (b, u), vectors_of(self.inputs)
