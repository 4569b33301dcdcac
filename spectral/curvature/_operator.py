"""Operators say which matrix."""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree


class AbstractOperator(eqx.Module):
    """A real symmetric matrix that is known by its products with vectors.

    The vectors are pytrees of floating-point arrays, such as the parameters of a network. A new
    operator states `structure` and `product`; the other methods follow from these two.
    """

    @property
    @abc.abstractmethod
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        """Shapes and dtypes of the vectors that the matrix acts on."""

    @abc.abstractmethod
    def product(self) -> Callable[[PyTree], PyTree]:
        """The map v -> A v, with everything that does not depend on v computed once.

        Estimators call this once, outside their loops, and then the function it returns. It runs
        in full precision, whatever `jax.default_matmul_precision` says outside.
        """

    @property
    def dim(self) -> int:
        """Rows of the matrix, which are the entries of a vector."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.structure))

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of flat vectors: the widest of the leaves, and float32 at least."""
        # Half precision would leave Lanczos three digits, and LAPACK does not take it.
        return jnp.result_type(jnp.float32, *(s.dtype for s in jax.tree.leaves(self.structure)))

    def mv(self, vector: PyTree) -> PyTree:
        """One product A v. For several, call `product` once and use what it returns."""
        return self.product()(vector)

    def flat_product(self) -> Callable[[Float[Array, " dim"]], Float[Array, " dim"]]:
        """`product` on flat vectors, with the leaves of `structure` joined in their order."""
        product, structure, dtype = self.product(), self.structure, self.dtype
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), structure)
        _, unravel = ravel_pytree(zeros)

        def flat(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
            tree = jax.tree.map(lambda x, s: x.astype(s.dtype), unravel(vector), structure)
            return ravel_pytree(product(tree))[0].astype(dtype)

        return flat

    def dense(self) -> Float[Array, "dim dim"]:
        """The matrix itself, in the order of `flat_product`: `dim` products and dim^2 numbers."""
        columns = jax.vmap(self.flat_product())(jnp.eye(self.dim, dtype=self.dtype))
        return columns.T
