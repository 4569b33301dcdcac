"""What the block of one layer answers."""

from abc import abstractmethod

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._factor import Factor


class AbstractBlock(eqx.Module):
    """A symmetric positive semi-definite matrix that acts on the arrays of one layer.

    Each array of the layer has one row for each output, or for each input if the layer is an
    embedding. The arrays are joined along their columns to a matrix `[rows, columns]`, such as
    [weight, bias], which the block acts on in row-major order.
    """

    name: eqx.AbstractVar[str]
    leaves: eqx.AbstractVar[tuple[int, ...]]  # indices of its arrays in the flattened parameters

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""

    @abstractmethod
    def product(self, matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
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
    def inverse(self, damping: Float[Array, ""]) -> "AbstractBlock":
        """The inverse of the block plus `damping` times the identity."""

    @abstractmethod
    def within(
        self, columns: Bool[np.ndarray, " columns"], leaves: tuple[int, ...]
    ) -> "AbstractBlock":
        """The rows and columns of the block that belong to the marked columns of [weight, bias].

        `leaves` are the new indices of the arrays that remain.
        """


class AbstractProducts(AbstractBlock):
    """A block that is a sum of Kronecker products, most often of one."""

    inputs: eqx.AbstractVar[Factor]  # A, if there is one product
    outputs: eqx.AbstractVar[Float[Array, "outputs outputs"]]  # B

    @property
    @abstractmethod
    def products(self) -> tuple[tuple[Factor, Float[Array, "columns columns"]], ...]:
        """The factors R and C of each product: the block is the sum of the maps M -> R M C."""

    @abstractmethod
    def eigenvectors(
        self,
    ) -> tuple[tuple[Array, Float[Array, "columns columns"]], tuple[Array, Array | None]]:
        """Eigenvalues and eigenvectors that EKFAC uses for the columns, and for the rows.

        `None` stands for the standard basis.
        """
