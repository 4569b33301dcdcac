"""Matrices given as an array or by a function that multiplies with them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from ._operator import AbstractOperator, same_structure


class Matrix(AbstractOperator):
    """A symmetric matrix given as an array. It acts on vectors `[dim]`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Lanczos, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(10.0)))
    spectrum = Lanczos(order=10)(matrix, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # about 9
    ```

    Symmetry is not checked here; `check_symmetric` does that.

    **Raises:** `ValueError` unless the array is a non-empty square matrix of floating-point
    numbers.
    """

    array: Float[Array, "dim dim"]

    def __init__(self, array: Real[ArrayLike, "rows columns"]):
        array = jnp.asarray(array)
        square = array.ndim == 2 and array.shape[0] == array.shape[1] > 0
        if not square or not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"`array` is of {array.dtype} {array.shape}, but must be a square matrix of "
                "floating-point numbers: pass one, or `Function` for products without a matrix."
            )
        self.array = array

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.ShapeDtypeStruct(self.array.shape[:1], self.array.dtype)

    def product(self) -> Callable[[PyTree], PyTree]:
        return lambda vector: jnp.matmul(self.array, vector, precision="highest")


class Function(AbstractOperator):
    """A symmetric matrix given by its products with vectors.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import Function

    def smooth(v):
        return 2 * v - jnp.roll(v, 1) - jnp.roll(v, -1)

    Function(smooth, jnp.zeros(8)).dense()  # [8, 8]
    ```

    **Arguments:**

    - `function`: maps a vector to its product. Pass a function defined at module level, or a Module
        whose fields are its data, so that nothing is compiled twice. It runs in full matrix
        precision. It must be linear and symmetric; `check_symmetric` checks the latter.
    - `like`: a vector, or its shapes and dtypes: any pytree of floating-point arrays or of
        `jax.ShapeDtypeStruct`.

    **Raises:** `ValueError` if `like` has no leaves or leaves of another kind, or (when a product
    is first requested) if the function does not return a vector of the same structure.
    """

    function: Callable[[PyTree], Any]
    # Static, because transformations of Equinox would treat shapes as arguments.
    shapes: tuple[jax.ShapeDtypeStruct, ...] = eqx.field(static=True)
    nodes: Any = eqx.field(static=True)

    def __init__(self, function: Callable[[PyTree], Any], like: PyTree):
        leaves = jax.tree.leaves(like)
        for leaf in leaves:
            dtype = getattr(leaf, "dtype", None)
            if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
                raise ValueError(
                    f"`like` has a leaf {leaf!r}, but must consist of floating-point arrays or "
                    "their `jax.ShapeDtypeStruct`: pass a vector, or `jax.eval_shape` of one."
                )
        if not leaves:
            raise ValueError(
                f"`like` is {like!r}, but must have at least one array: pass a vector."
            )
        self.function = function
        self.shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
        self.nodes = jax.tree.structure(like)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.tree.unflatten(self.nodes, self.shapes)

    def product(self) -> Callable[[PyTree], PyTree]:
        def apply(vector: PyTree) -> PyTree:
            with jax.default_matmul_precision("highest"):
                return self.function(vector)

        returned = eqx.filter_eval_shape(apply, self.structure)
        if not same_structure(returned, self.structure):
            raise ValueError(
                f"`function` returned {returned} for a vector {self.structure}, but a symmetric "
                "matrix maps vectors to vectors of the same structure, shapes and dtypes: return "
                "one of these."
            )
        return apply
