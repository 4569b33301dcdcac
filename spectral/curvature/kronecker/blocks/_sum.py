"""The block of a matrix with several uses, such as a tied embedding."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...._base._scaling import exponent_of, times_power
from ._block import AbstractProducts
from ._factor import Factor, inner, trace_of, vectors_of
from ._rotated import RotatedBlock


class SumBlock(AbstractProducts):
    """The sum of one Kronecker product for each use of a matrix: M -> sum of R M C.

    What lies between two uses is left out. The eigenvalues and the inverse of such a sum do not
    follow from its factors.
    """

    terms: tuple[AbstractProducts, ...]
    name: str = eqx.field(static=True)
    leaves: tuple[int, ...] = eqx.field(static=True)

    @property
    def inputs(self) -> Factor:
        raise ValueError(self.unknown("input factor"))

    @property
    def outputs(self) -> Float[Array, "outputs outputs"]:
        raise ValueError(self.unknown("output factor"))

    @property
    def shape(self) -> tuple[int, int]:
        return self.terms[0].shape

    @property
    def products(self) -> tuple[tuple[Factor, Array], ...]:
        return tuple(pair for term in self.terms for pair in term.products)

    def product(self, matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
        return sum((term.product(matrix) for term in self.terms), jnp.zeros_like(matrix))

    def trace(self) -> Float[Array, ""]:
        return jnp.sum(jnp.stack([term.trace() for term in self.terms]))

    def square(self) -> tuple[Float[Array, ""], Int[Array, ""]]:
        exponents = [exponent_of(r) + exponent_of(c) for r, c in self.products]
        # A term of zeros has no unit of its own.
        used = jnp.stack([term.trace() > 0 for term in self.terms])
        unit = jnp.max(jnp.where(used, jnp.stack(exponents), jnp.min(jnp.stack(exponents))))
        scaled = []
        for (r, c), own in zip(self.products, exponents, strict=True):
            r, c = times_power(r, -exponent_of(r)), times_power(c, -exponent_of(c))
            scaled.append((times_power(r, own - unit), c))
        # The squared norm of a sum is the sum over pairs of its terms.
        pairs = [inner(r, s) * inner(c, d) for r, c in scaled for s, d in scaled]
        return jnp.sum(jnp.stack(pairs)), unit

    def eigenvalues(self) -> tuple[Float[Array, " longer"], Float[Array, " shorter"]]:
        raise ValueError(self.unknown("list of eigenvalues"))

    def inverse(self, damping: Float[Array, ""]) -> RotatedBlock:
        raise ValueError(self.unknown("inverse"))

    def within(self, columns: Bool[np.ndarray, " columns"], leaves: tuple[int, ...]) -> "SumBlock":
        terms = tuple(term.within(columns, leaves) for term in self.terms)
        return dataclasses.replace(self, terms=terms, leaves=leaves)

    def eigenvectors(self) -> tuple[tuple[Array, Array], tuple[Array, Array | None]]:
        """Those of the two partial traces of the block: the sums of R tr C and of C tr R.

        For a single product these are its own eigenvectors.
        """
        full = lambda r: jnp.diag(r) if r.ndim == 1 else r
        rows = sum(full(r) * trace_of(c) for r, c in self.products)
        columns = sum(c * trace_of(r) for r, c in self.products)
        c, u = vectors_of(jnp.asarray(columns))
        assert u is not None  # the sum is a matrix
        return (c, u), vectors_of(jnp.asarray(rows))

    def unknown(self, what: str) -> str:
        """The message that this part of the algebra is not defined."""
        return (
            f"The layer {self.name} has a weight with several uses, such as a tied embedding. Its "
            f"`KFAC` block is a sum of {len(self.terms)} Kronecker products. It has no {what} that "
            "follows from the factors of its `terms`, but a trace, a norm and products: use "
            "`EKFAC`, an estimator such as `Lanczos()`, or `Inverse` for systems with this matrix."
        )
