"""The interface of all operators, and their sums and multiples."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int, PyTree, Real

from ..._base._scaling import times_power


_COLUMNS = 64  # products that `dense` computes at once
_LARGEST = 2**37  # bytes of the largest matrix that `dense` writes: 137 GB

# Maps a vector v and an exponent k to 2^-k A v.
ScaledProduct = Callable[[Float[Array, " dim"], int | Int[Array, ""]], Float[Array, " dim"]]


class AbstractOperator(eqx.Module):
    """A real symmetric matrix that is defined by its products with vectors.

    The vectors are pytrees of floating-point arrays, such as the parameters of a network. A new
    operator implements `structure` and `product`; the other methods follow from these two. An
    operator that can form its matrix faster than by products also overrides `written_out`.

    `a + b`, `a - b`, `sum([a, b])`, `2.0 * a`, `a / 2` and `-a` are operators, and `a @ v` is
    `a.mv(v)`.
    """

    __array_ufunc__ = None  # NumPy numbers leave `number * operator` to the operator

    @property
    @abc.abstractmethod
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The shapes and dtypes of the vectors that the matrix acts on."""

    @abc.abstractmethod
    def product(self) -> Callable[[PyTree], PyTree]:
        """The map v -> A v, with everything that does not depend on v computed once.

        Estimators call this method once, outside their loops, and then use the function it
        returns. That function runs in full precision for any `jax.default_matmul_precision`.
        """

    @property
    def dim(self) -> int:
        """The number of rows of the matrix, which is the number of entries of a vector."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.structure))

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of flat vectors: the widest of the leaves, and at least float32."""
        # Half precision would leave Lanczos three digits, and LAPACK does not support it.
        return jnp.result_type(jnp.float32, *(s.dtype for s in jax.tree.leaves(self.structure)))

    def mv(self, vector: PyTree) -> PyTree:
        """One product A v. For several products, call `product` once and use its result.

        A vector of fewer digits, such as one of the dtype of bfloat16 parameters, is widened: the
        image has the dtypes of `structure`.

        **Raises:** `ValueError` if the vector does not have this operator's structure.
        """
        return self.product()(checked_vector(vector, self))

    def flat_product(self) -> Callable[[Float[Array, " dim"]], Float[Array, " dim"]]:
        """`product` on flat vectors, which join the leaves of `structure` in their order."""
        product, structure, dtype = self.product(), self.structure, self.dtype

        def flat(vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
            tree = jax.tree.map(lambda x, s: x.astype(s.dtype), self.unravel(vector), structure)
            return ravel_pytree(product(tree))[0].astype(dtype)

        return flat

    def unravel(self, vector: Float[Array, " dim"]) -> PyTree:
        """A flat vector as a pytree like `structure`, with the dtype of the flat vector."""
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, vector.dtype), self.structure)
        return ravel_pytree(zeros)[1](vector)

    def dense(self) -> Float[Array, "dim dim"]:
        """The matrix itself, in the order of `flat_product`: `dim` products and dim^2 numbers.

        It is compiled, and compiled again only for an operator of other shapes or other functions.

        **Raises:** `ValueError` if the matrix would take more than 137 GB of memory.
        """
        size = self.dim**2 * self.dtype.itemsize
        if size > _LARGEST:
            raise ValueError(
                f"The matrix has {self.dim:,} rows, so it would take {size / 1e9:,.0f} GB, but "
                f"`dense` writes at most {_LARGEST / 1e9:,.0f} GB: use its products, `mv`, "
                "estimate its spectrum with `Lanczos()`, or write out the `Block` of a layer, or "
                "the `Gram` of fewer examples."
            )
        return _dense(self)

    def written_out(self) -> Float[Array, "dim dim"]:
        """The computation of `dense`, which checks the size and compiles it."""
        columns = jax.lax.map(
            self.flat_product(),
            jnp.eye(self.dim, dtype=self.dtype),
            batch_size=min(self.dim, _COLUMNS),
        )
        return columns.T

    def __add__(self, other: Any) -> "AbstractOperator":
        return Sum((self, _summand(other)))

    def __radd__(self, other: Any) -> "AbstractOperator":
        # `sum` starts from 0.
        return self if isinstance(other, int) and other == 0 else self + other

    def __sub__(self, other: Any) -> "AbstractOperator":
        return Sum((self, -_summand(other)))

    def __mul__(self, factor: Real[ArrayLike, "..."]) -> "AbstractOperator":
        return Scaled(self, factor)

    def __rmul__(self, factor: Real[ArrayLike, "..."]) -> "AbstractOperator":
        return Scaled(self, factor)

    def __truediv__(self, divisor: Real[ArrayLike, "..."]) -> "AbstractOperator":
        return Scaled(self, 1 / jnp.asarray(divisor, dtype=float))

    def __matmul__(self, vector: PyTree) -> PyTree:
        if isinstance(vector, AbstractOperator):
            raise TypeError(
                f"The right side of `@` is a {type(vector).__name__}, but must be a vector, "
                "because a product of symmetric matrices is not symmetric in general: apply one "
                "after the other, `a @ (b @ v)`."
            )
        return self.mv(vector)

    def __neg__(self) -> "AbstractOperator":
        return Scaled(self, -1.0)


@eqx.filter_jit
def _dense(operator: AbstractOperator) -> Float[Array, "dim dim"]:
    return operator.written_out()


def rescaled(
    operator: AbstractOperator, of_image: Callable[[Array], Array] = lambda image: image
) -> ScaledProduct:
    """Products with 2^-k A, where k is near the exponent of the entries of A v.

    Half of the power of two is applied to the vector and half to its image, of which `of_image` is
    taken before. So neither the products within the operator nor the entries of the vectors leave
    the range of their dtype for any |k| up to 126 in float32. A power of two changes no digit.
    """
    product = operator.flat_product()
    # Of float16 there is no range to spare, so the whole power is applied to the image.
    leaves = jax.tree.leaves(operator.structure)
    room = min((int(jnp.finfo(leaf.dtype).maxexp) - 16) // 2 for leaf in leaves)

    def scaled(vector: Float[Array, " dim"], exponent: int | Int[Array, ""]) -> Array:
        before = jnp.clip(-(jnp.asarray(exponent) // 2), -room, room)
        return times_power(of_image(product(times_power(vector, before))), -exponent - before)

    return scaled


def checked_vector(vector: PyTree, operator: AbstractOperator) -> PyTree:
    """The vector in the dtypes of an operator, which may be wider than its own.

    **Raises:** `ValueError` if it does not have the operator's structure.
    """
    structure = operator.structure
    wider = widened(vector, structure)
    if not same_structure(wider, structure):
        raise ValueError(
            f"`vector` is {eqx.tree_pformat(vector)}, but the matrix acts on vectors "
            f"{eqx.tree_pformat(structure)}: pass one of the same structure and shapes, in these "
            "dtypes or in floating-point numbers of fewer digits."
        )
    return wider


def widened(vector: PyTree, structure: PyTree[jax.ShapeDtypeStruct]) -> PyTree:
    """The floating-point arrays of a vector in the dtypes of `structure`, where these are wider.

    Arrays that lose digits in them, and vectors of another tree, are returned as they are.
    """
    if jax.tree.structure(vector) != jax.tree.structure(structure):
        return vector

    def wide(x: Any, s: jax.ShapeDtypeStruct) -> Any:
        floating = eqx.is_array(x) and jnp.issubdtype(x.dtype, jnp.floating)
        return (
            x.astype(s.dtype) if floating and jnp.promote_types(x.dtype, s.dtype) == s.dtype else x
        )

    return jax.tree.map(wide, vector, structure)


def same_structure(vector: PyTree, structure: PyTree[jax.ShapeDtypeStruct]) -> bool:
    """Whether two pytrees agree in their nodes, and in the shapes and dtypes of their leaves."""
    kind = lambda leaf: (getattr(leaf, "shape", None), getattr(leaf, "dtype", None))
    ours, theirs = jax.tree.flatten(structure), jax.tree.flatten(vector)
    return ours[1] == theirs[1] and list(map(kind, ours[0])) == list(map(kind, theirs[0]))


def _summand(other: Any) -> AbstractOperator:
    if isinstance(other, AbstractOperator):
        return other
    raise TypeError(
        f"A {type(other).__name__} cannot be added to an operator: for a multiple of the identity, "
        "such as damping, add `c * Function(lambda v: v, operator.structure)`."
    )


class Scaled(AbstractOperator):
    """A matrix times a number: `2.0 * operator`."""

    operator: AbstractOperator
    factor: Float[Array, ""]

    def __init__(self, operator: AbstractOperator, factor: Real[ArrayLike, "..."]):
        self.operator = operator
        self.factor = jnp.asarray(factor, dtype=float)
        if self.factor.shape != ():
            raise ValueError(
                f"The factor has the shape {self.factor.shape}, but must be one number: for the "
                "product with a vector call `mv`."
            )

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.operator.structure

    def product(self) -> Callable[[PyTree], PyTree]:
        product = self.operator.product()
        scale = lambda x: self.factor.astype(x.dtype) * x
        return lambda vector: jax.tree.map(scale, product(vector))


class Sum(AbstractOperator):
    """A sum of matrices that act on the same vectors: `a + b`, `a - b`.

    **Raises:** `ValueError` if the vectors differ in structure, shapes or dtypes.
    """

    terms: tuple[AbstractOperator, ...]

    def __check_init__(self):
        first, *others = (term.structure for term in self.terms)
        for other in others:
            if not same_structure(other, first):
                raise ValueError(
                    f"The operators act on vectors of different structure, {first} and {other}, "
                    "but only matrices that act on the same parameters can be added: build both "
                    "from the same model."
                )

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.terms[0].structure

    def product(self) -> Callable[[PyTree], PyTree]:
        products = [term.product() for term in self.terms]

        def total(vector: PyTree) -> PyTree:
            first, *others = (product(vector) for product in products)
            for other in others:
                first = jax.tree.map(jnp.add, first, other)
            return first

        return total
