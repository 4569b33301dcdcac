"""Matrices with one Kronecker-factored block for each layer."""

import math
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from ..._arguments import check_above
from ..._base._scaling import exponent_of, times_power
from ..operators._operator import AbstractOperator
from ..operators._single_threaded import jit_single_threaded
from ._layout import Layout
from .blocks._block import AbstractBlock


_NO_UNIT = -(2**12)  # an exponent below those of all numbers


class AbstractKronecker(AbstractOperator):
    """A matrix with one block for each layer: `KFAC`, `EKFAC` and their inverses.

    It is a pytree whose leaves are arrays, so `jax.jit` and `jax.tree.map` take it and
    `eqx.tree_serialise_leaves` saves it.

    Parameters that belong to no block do not influence the outputs; their diagonal entries are
    `rest`.
    """

    blocks: eqx.AbstractVar[tuple[AbstractBlock, ...]]
    layout: eqx.AbstractVar[Layout]  # of the vectors

    @property
    @abstractmethod
    def rest(self) -> Float[Array, ""]:
        """The eigenvalue of the parameters that belong to no block."""

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.layout.structure

    @property
    def unused(self) -> int:
        """The number of parameters that belong to no block."""
        return self.dim - sum(block.shape[0] * block.shape[1] for block in self.blocks)

    def product(self) -> Callable[[PyTree], PyTree]:
        def apply(vector: PyTree) -> PyTree:
            leaves, structure = jax.tree.flatten(vector)
            result = [(self.rest * x).astype(x.dtype) for x in leaves]
            with jax.default_matmul_precision("highest"):
                for block in self.blocks:
                    own = [leaves[n].reshape(block.shape[0], -1) for n in block.leaves]
                    matrix = jnp.concatenate(own, axis=1).astype(self.dtype)
                    ends = np.cumsum([part.shape[1] for part in own])[:-1]
                    parts = jnp.split(block.product(matrix), ends, axis=1)
                    for n, part in zip(block.leaves, parts, strict=True):
                        result[n] = part.reshape(leaves[n].shape).astype(leaves[n].dtype)
            return structure.unflatten(result)

        return apply

    def within(self, kept: PyTree[bool]) -> "AbstractKronecker":
        """The block of the marked parameters, in Kronecker form.

        **Raises:** `ValueError` if it keeps only a part of a layer whose block is known by its
        eigenvectors.
        """
        marks, shapes = jax.tree.leaves(kept), self.layout.leaves
        index = np.cumsum(marks) - 1
        blocks = []
        for block in self.blocks:
            own = tuple(int(index[n]) for n in block.leaves if marks[n])
            if own:
                widths = [math.prod(shapes[n].shape) // block.shape[0] for n in block.leaves]
                columns = np.repeat([marks[n] for n in block.leaves], widths)
                blocks.append(block.within(columns, own))
        new = tuple(blocks), Layout(eqx.filter(self.structure, kept))
        parts = lambda kronecker: (kronecker.blocks, kronecker.layout)
        return eqx.tree_at(parts, self, new, is_leaf=lambda node: isinstance(node, Layout))

    def trace(self) -> Float[Array, ""]:
        """The sum of all eigenvalues, from the factors alone."""
        return sum((block.trace() for block in self.blocks), self.unused * self.rest)

    def frobenius_norm(self) -> Float[Array, ""]:
        """The root of the sum of all squared eigenvalues, from the factors alone."""
        squares = [block.square() for block in self.blocks]
        if self.unused:
            exponent = exponent_of(self.rest)
            squares.append((self.unused * times_power(self.rest, -exponent) ** 2, exponent))
        values, exponents = (jnp.stack(numbers) for numbers in zip(*squares, strict=True))
        # A block of zeros has no unit of its own.
        unit = jnp.max(jnp.where(values > 0, exponents, _NO_UNIT))
        total = jnp.sum(times_power(values, 2 * (exponents - unit)))
        return times_power(jnp.sqrt(total), unit)

    def eigenvalues(self) -> dict[str, Float[Array, " size"]]:
        """All eigenvalues of the block of each layer, ascending, by the path to the layer.

        The result has one number for each parameter. To count eigenvalues without writing them
        out, use `epsilon_rank` with `KroneckerEigh`.
        """
        return _eigenvalues(self)

    def log_det(self, damping: Real[ArrayLike, ""]) -> Float[Array, ""]:
        """log det (A + damping I), in nats: -inf for a singular matrix without damping.

        For `KFAC`, eigenvalues of a factor count as 0 if they are at most 10 eps times its largest.
        The eigenvalues of `EKFAC` are used with their rounding errors.

        **Raises:** `ValueError` if `damping` is negative or not finite.
        """
        check_above("damping", damping, 0, strict=False)
        return _log_det(self, jnp.asarray(damping, self.dtype))

    def inverse(self, damping: Real[ArrayLike, ""]) -> "DampedInverse":
        """The exact inverse of A + damping I, as an operator.

        **Raises:** `ValueError` if `damping` is not positive and finite.
        """
        check_above("damping", damping, 0)
        return _inverse(self, jnp.asarray(damping, self.dtype))


class DampedInverse(AbstractKronecker):
    """(A + damping I)^-1 for a Kronecker-factored A, as `inverse` returns it.

    Use `kfac.inverse(1e-3).mv(gradient)` to precondition a gradient.
    """

    blocks: tuple[AbstractBlock, ...]
    layout: Layout
    damping: Float[Array, ""]

    @property
    def rest(self) -> Float[Array, ""]:
        return 1 / self.damping


@jit_single_threaded
def _eigenvalues(operator: AbstractKronecker) -> dict[str, Float[Array, " size"]]:
    result = {}
    for block in operator.blocks:
        longer, shorter = block.eigenvalues()
        result[block.name] = jnp.sort(longer[:, None] * shorter[None], axis=None)
    return result


@jit_single_threaded
def _log_det(operator: AbstractKronecker, damping: Float[Array, ""]) -> Float[Array, ""]:
    total = operator.unused * jnp.log(operator.rest + damping) if operator.unused else 0.0
    for block in operator.blocks:
        longer, shorter = block.eigenvalues()
        total += jnp.sum(jnp.log(longer[:, None] * shorter[None] + damping))
    return jnp.asarray(total)


@jit_single_threaded
def _inverse(operator: AbstractKronecker, damping: Float[Array, ""]) -> DampedInverse:
    with jax.default_matmul_precision("highest"):
        blocks = tuple(block.inverse(damping) for block in operator.blocks)
    # `rest` is the eigenvalue of the parameters without a block.
    return DampedInverse(blocks=blocks, layout=operator.layout, damping=operator.rest + damping)
