"""Matrices made of one block for each layer, in Kronecker form: the algebra, without data."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree, Real

from ..._arguments import check_above
from ..._blas import single_threaded_blas
from ..operators._operator import AbstractOperator


class AbstractBlock(eqx.Module):
    """A symmetric positive semi-definite matrix that acts on [weight, bias] of one layer.

    The leaves of the layer, each with one row for each output, are joined along their columns:
    `[outputs, inputs]`. The eigenvalues are those of its vectorisation by rows.
    """

    name: eqx.AbstractVar[str]
    leaves: eqx.AbstractVar[tuple[int, ...]]  # numbers of its arrays among all leaves

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""

    @abstractmethod
    def product(self, matrix: Float[Array, "outputs inputs"]) -> Float[Array, "outputs inputs"]:
        """The block times a vector that is given as a matrix."""

    @abstractmethod
    def trace(self) -> Float[Array, ""]:
        """The sum of the eigenvalues."""

    @abstractmethod
    def square(self) -> Float[Array, ""]:
        """The sum of the squared eigenvalues."""

    @abstractmethod
    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        """Two ascending lists of numbers, none negative, whose products are the eigenvalues."""

    @abstractmethod
    def inverse(self, damping: Float[Array, ""]) -> "RotatedBlock":
        """The inverse of the block plus `damping` times the identity."""

    @abstractmethod
    def within(
        self, columns: Bool[np.ndarray, " inputs"], leaves: tuple[int, ...]
    ) -> "AbstractBlock":
        """The rows and columns of the block that belong to the marked columns of [weight, bias],
        whose arrays have these new numbers."""


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

    def square(self) -> Float[Array, ""]:
        return jnp.sum(self.inputs**2) * jnp.sum(self.outputs**2)

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        a, b = (_semi_definite(jnp.linalg.eigvalsh(m)) for m in (self.inputs, self.outputs))
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
        """Eigenvalues and eigenvectors of A and of B."""
        pairs = (jnp.linalg.eigh(m) for m in (self.inputs, self.outputs))
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

    def square(self) -> Float[Array, ""]:
        return jnp.sum(self.values**2)

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


class AbstractKronecker(AbstractOperator):
    """A matrix with one block for each layer: `KFAC`, `EKFAC` and their inverses.

    Parameters that belong to no block do not influence the outputs: their rows are `rest` on the
    diagonal.
    """

    blocks: eqx.AbstractVar[tuple[AbstractBlock, ...]]
    like: eqx.AbstractVar[PyTree[jax.ShapeDtypeStruct]]  # the vectors

    @property
    @abstractmethod
    def rest(self) -> Float[Array, ""]:
        """The eigenvalue of the parameters that belong to no block."""

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.like

    @property
    def unused(self) -> int:
        """How many parameters belong to no block."""
        return self.dim - sum(block.shape[0] * block.shape[1] for block in self.blocks)

    def product(self) -> Callable[[PyTree], PyTree]:
        def apply(vector: PyTree) -> PyTree:
            leaves, structure = jax.tree.flatten(vector)
            result = [(self.rest * x).astype(x.dtype) for x in leaves]
            with jax.default_matmul_precision("highest"):
                for block in self.blocks:
                    own = [leaves[n].reshape(block.shape[0], -1) for n in block.leaves]
                    matrix = jnp.concatenate(own, axis=1).astype(self.dtype)
                    ends, end = [], 0
                    for part in own:
                        end += part.shape[1]
                        ends.append(end)
                    parts = jnp.split(block.product(matrix), ends[:-1], axis=1)
                    for n, part in zip(block.leaves, parts, strict=True):
                        result[n] = part.reshape(leaves[n].shape).astype(leaves[n].dtype)
            return structure.unflatten(result)

        return apply

    def within(self, kept: PyTree[bool]) -> "AbstractKronecker":
        """The block of the parameters that are marked, in Kronecker form.

        **Raises:** `ValueError` if it keeps a layer in part that is known by its eigenvectors.
        """
        marks, shapes = jax.tree.leaves(kept), jax.tree.leaves(self.like)
        number = np.cumsum(marks) - 1
        blocks = []
        for block in self.blocks:
            own = tuple(int(number[n]) for n in block.leaves if marks[n])
            if own:
                widths = [math.prod(shapes[n].shape) // block.shape[0] for n in block.leaves]
                columns = np.repeat([marks[n] for n in block.leaves], widths)
                blocks.append(block.within(columns, own))
        like = eqx.filter(self.like, kept)
        return eqx.tree_at(lambda k: (k.blocks, k.like), self, (tuple(blocks), like))

    def trace(self) -> Float[Array, ""]:
        """The sum of all eigenvalues, from the factors alone."""
        return sum((block.trace() for block in self.blocks), self.unused * self.rest)

    def frobenius_norm(self) -> Float[Array, ""]:
        """The root of the sum of all squared eigenvalues, from the factors alone."""
        square = sum((block.square() for block in self.blocks), self.unused * self.rest**2)
        return jnp.sqrt(square)

    def eigenvalues(self) -> dict[str, Float[Array, " size"]]:
        """All eigenvalues of the block of each layer, ascending, by the path to the layer.

        This writes out as many numbers as there are parameters. To count them, ask `epsilon_rank`
        of `KroneckerEigh`, which does not.
        """
        with single_threaded_blas():
            return jax.block_until_ready(_eigenvalues(self))

    def log_det(self, damping: Real[ArrayLike, ""]) -> Float[Array, ""]:
        """log det (A + damping I), in nats: -inf for a singular matrix without damping.

        Of each factor of `KFAC`, eigenvalues of at most 10 eps times the largest count as 0; those
        of `EKFAC` are taken as they are, and their rounding with them.

        **Raises:** `ValueError` for a damping that is negative or not finite.
        """
        check_above("damping", damping, 0, strict=False)
        with single_threaded_blas():
            return jax.block_until_ready(_log_det(self, jnp.asarray(damping, self.dtype)))

    def inverse(self, damping: Real[ArrayLike, ""]) -> "DampedInverse":
        """The inverse of A + damping I, exactly, as an operator.

        **Raises:** `ValueError` for a damping that is not positive and finite.
        """
        check_above("damping", damping, 0)
        with single_threaded_blas():
            return jax.block_until_ready(_inverse(self, jnp.asarray(damping, self.dtype)))


class DampedInverse(AbstractKronecker):
    """(A + damping I)^-1 for a Kronecker-factored A, as `inverse` returns it.

    Preconditioning is `kfac.inverse(1e-3).mv(gradient)`.
    """

    blocks: tuple[RotatedBlock, ...]
    like: PyTree[jax.ShapeDtypeStruct]
    damping: Float[Array, ""]

    @property
    def rest(self) -> Float[Array, ""]:
        return 1 / self.damping


def _semi_definite(values: Float[Array, " size"]) -> Float[Array, " size"]:
    # What cannot be told from 0 is 0, or the determinant of a singular matrix would be a product of
    # rounding errors wherever these happen to be positive.
    rounding = 10 * jnp.finfo(values.dtype).eps * jnp.max(values)
    return jnp.where(values <= rounding, 0, values)


@eqx.filter_jit
def _eigenvalues(operator: AbstractKronecker) -> dict[str, Float[Array, " size"]]:
    result = {}
    for block in operator.blocks:
        longer, shorter = block.eigenvalues()
        result[block.name] = jnp.sort(longer[:, None] * shorter[None], axis=None)
    return result


@eqx.filter_jit
def _log_det(operator: AbstractKronecker, damping: Float[Array, ""]) -> Float[Array, ""]:
    total = operator.unused * jnp.log(operator.rest + damping) if operator.unused else 0.0
    for block in operator.blocks:
        longer, shorter = block.eigenvalues()
        total += jnp.sum(jnp.log(longer[:, None] * shorter[None] + damping))
    return jnp.asarray(total)


@eqx.filter_jit
def _inverse(operator: AbstractKronecker, damping: Float[Array, ""]) -> DampedInverse:
    with jax.default_matmul_precision("highest"):
        blocks = tuple(block.inverse(damping) for block in operator.blocks)
    # The parameters without a block have an eigenvalue of their own.
    return DampedInverse(blocks=blocks, like=operator.like, damping=operator.rest + damping)
