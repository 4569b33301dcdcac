"""The block of one layer in Kronecker form: the algebra, without data."""

import dataclasses
from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..._base._scaling import exponent_of, times_power
from ..._eigh import eigh, eigvalsh


class AbstractBlock(eqx.Module):
    """A symmetric positive semi-definite matrix that acts on [weight, bias] of one layer.

    Each array of the layer has one row for each output. The arrays are joined along their columns
    to a matrix `[outputs, inputs]`, which the block acts on in row-major order.
    """

    name: eqx.AbstractVar[str]
    leaves: eqx.AbstractVar[tuple[int, ...]]  # indices of its arrays in the flattened parameters

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """The numbers of outputs and inputs."""

    @abstractmethod
    def product(self, matrix: Float[Array, "outputs inputs"]) -> Float[Array, "outputs inputs"]:
        """The block times a vector in the form of a matrix."""

    @abstractmethod
    def trace(self) -> Float[Array, ""]:
        """The sum of the eigenvalues."""

    @abstractmethod
    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        """The sum of the squared eigenvalues in units of 4^exponent, and the exponent. The squares
        themselves may leave the range of the dtype."""

    @abstractmethod
    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        """Two ascending lists of non-negative numbers, whose products are the eigenvalues."""

    @abstractmethod
    def inverse(self, damping: Float[Array, ""]) -> "RotatedBlock":
        """The inverse of the block plus `damping` times the identity."""

    @abstractmethod
    def within(
        self, columns: Bool[np.ndarray, " inputs"], leaves: tuple[int, ...]
    ) -> "AbstractBlock":
        """The rows and columns of the block that belong to the marked columns of [weight, bias].

        `leaves` are the new indices of the arrays that remain.
        """


class FactoredBlock(AbstractBlock):
    """B kron A: the map M -> B M A."""

    inputs: Float[Array, "inputs inputs"]  # A
    outputs: Float[Array, "outputs outputs"]  # B
    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.outputs.shape[0], self.inputs.shape[0]

    def product(self, matrix: Float[Array, "outputs inputs"]) -> Float[Array, "outputs inputs"]:
        return self.outputs @ matrix @ self.inputs

    def trace(self) -> Float[Array, ""]:
        return jnp.trace(self.inputs) * jnp.trace(self.outputs)

    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        (a, of_inputs), (b, of_outputs) = _square(self.inputs), _square(self.outputs)
        return a * b, of_inputs + of_outputs

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        a, b = (_semi_definite(eigvalsh(m)) for m in (self.inputs, self.outputs))
        return (a, b) if a.size >= b.size else (b, a)

    def inverse(self, damping: Float[Array, ""]) -> "RotatedBlock":
        (a, input_vectors), (b, output_vectors) = self.eigenvectors()
        return RotatedBlock(
            input_vectors=input_vectors,
            output_vectors=output_vectors,
            values=1 / (b[:, None] * a[None] + damping),
            name=self.name,
            leaves=self.leaves,
        )

    def within(
        self, columns: Bool[np.ndarray, " inputs"], leaves: tuple[int, ...]
    ) -> "FactoredBlock":
        inputs = self.inputs[np.ix_(columns, columns)]
        return dataclasses.replace(self, inputs=inputs, leaves=leaves)

    def eigenvectors(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """The eigenvalues and eigenvectors of A and of B."""
        pairs = (eigh(m) for m in (self.inputs, self.outputs))
        a, b = ((_semi_definite(values), vectors) for values, vectors in pairs)
        return a, b


class RotatedBlock(AbstractBlock):
    """A diagonal matrix in a basis of Kronecker products: M -> V (L o (V^T M U)) U^T."""

    input_vectors: Float[Array, "inputs inputs"]  # U
    output_vectors: Float[Array, "outputs outputs"]  # V
    values: Float[Array, "outputs inputs"]  # L, its eigenvalues
    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.output_vectors.shape[0], self.input_vectors.shape[0]

    def product(self, matrix: Float[Array, "outputs inputs"]) -> Float[Array, "outputs inputs"]:
        u, v = self.input_vectors, self.output_vectors
        return v @ (self.values * (v.T @ matrix @ u)) @ u.T

    def trace(self) -> Float[Array, ""]:
        return jnp.sum(self.values)

    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        return _square(self.values)

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        return jnp.sort(self.values, axis=None), jnp.ones(1, self.values.dtype)

    def inverse(self, damping: Float[Array, ""]) -> "RotatedBlock":
        return eqx.tree_at(lambda block: block.values, self, 1 / (self.values + damping))

    def within(
        self, columns: Bool[np.ndarray, " inputs"], leaves: tuple[int, ...]
    ) -> "RotatedBlock":
        if not columns.all():
            raise ValueError(
                f"The block keeps the layer {self.name} in part, but the eigenvectors of `EKFAC` "
                "and of damped inverses belong to whole layers: keep all of its arrays, or use "
                "another estimator, such as `Lanczos()`."
            )
        return dataclasses.replace(self, leaves=leaves)


def _square(x: Float[Array, "rows columns"]) -> tuple[Float[Array, ""], Int[Array, ""]]:
    exponent = exponent_of(x)
    return jnp.sum(times_power(x, -exponent) ** 2), exponent


def _semi_definite(values: Float[Array, " size"]) -> Float[Array, " size"]:
    # Values that cannot be distinguished from 0 are set to 0. Otherwise the determinant of a
    # singular matrix would be a product of rounding errors whenever these happen to be positive.
    rounding = 10 * jnp.finfo(values.dtype).eps * jnp.max(values)
    return jnp.where(values <= rounding, 0, values)
