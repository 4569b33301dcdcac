"""The product of a function of a matrix with a vector."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ...._arguments import Count
from ...._base._scaling import norm, times_power
from ...operators._operator import AbstractOperator, checked_vector
from ...operators._single_threaded import jit_single_threaded
from .._units import scaled_product
from ._order import check_order, order_within
from ._tridiagonal import ritz, Tridiagonal, tridiagonalise


class FunctionProduct(eqx.Module):
    """f(A) v, and an estimate of the norm of its error."""

    value: PyTree[Float[Array, "..."]]  # like v
    error: Float[Array, ""]


def matrix_function(
    operator: AbstractOperator,
    function: Callable[[Float[Array, " order"]], Float[Array, " order"]],
    vector: PyTree,
    *,
    order: Count | None = None,
) -> FunctionProduct:
    """f(A) v by Lanczos, where f(A) has the eigenvectors of A and the eigenvalues f(lambda).

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Hessian, matrix_function

    hessian = Hessian(lambda x: jnp.sum(x["w"] ** 4) / 12, {"w": jnp.arange(1.0, 11.0)})
    vector = {"w": jnp.ones(10)}
    root = matrix_function(hessian, jnp.sqrt, vector)
    root.value["w"]  # about 1, 2, ..., 10
    ```

    For example, `lambda x: 1 / (x + damping)` is a damped inverse, `lambda x: jnp.exp(-time * x)` a
    gradient flow, and `jnp.abs` the absolute value of a Hessian. The result is exact for
    polynomials of a degree below `order`. So its error is at most 2 ||v|| times that of the best
    such polynomial for f on the range of the spectrum. It converges fast for smooth functions, and
    slowly for one with a step or a pole near the spectrum. `Inverse` solves systems with a residual
    that is known. See Higham (2008), chapter 13.

    **Arguments:**

    - `operator`: the matrix.
    - `function`: maps an array of eigenvalues to an array of the same shape. It must be finite on
        all of the range of the spectrum. Pass a function defined at module level, or a Module whose
        fields are its data, so that nothing is compiled twice.
    - `vector`: v, like the vectors of `operator`. One of fewer digits is widened.
    - `order`: products with the matrix, and vectors in memory; by default the smaller of 100 and
        the dimension.

    **Returns:** a `FunctionProduct`. `error` is the distance from the result of three quarters of
    the order, so it estimates the error of that one, and is larger than that of the result if the
    iteration converges. It is not a bound. It is 0 if the Krylov space of v has ended, as it does
    for `order=operator.dim`: then the result is exact up to rounding.

    **Raises:** `ValueError` if the vector does not have the structure of `operator`, or if `order`
    is not a positive integer or is larger than `operator.dim`; `TypeError` if the result is
    differentiated.
    """
    vector = checked_vector(vector, operator)
    check_order("order", order)
    order = order_within("order", order, operator.dim, default=100)
    return _apply(operator, function, vector, order)


@jit_single_threaded
def _apply(
    operator: AbstractOperator, function: Callable[[Array], Any], vector: PyTree, order: int
) -> FunctionProduct:
    flat = ravel_pytree(vector)[0].astype(operator.dtype)
    length = norm(flat)
    # A vector of zeros has no direction, and any other one serves.
    start = jnp.where(length > 0, flat, 1)
    start = start / norm(start)
    with jax.default_matmul_precision("highest"):
        product = scaled_product(operator)
        # Rows after the end of the Krylov space do not enter the result, so any key will do.
        matrix, basis = tridiagonalise(product, start, order, key=jax.random.key(0), index=0)
        whole = _first_column(matrix, function)
        fewer = order - max(1, order // 4)
        before = _first_column(_leading(matrix, fewer), function) if fewer else whole[:0]
        change = whole - jnp.pad(before, (0, order - fewer))
        value = length * (whole @ basis)
    error = jnp.where(matrix.exhausted & jnp.isfinite(norm(whole)), 0, length * norm(change))
    cast = lambda x, s: x.astype(s.dtype)
    return FunctionProduct(jax.tree.map(cast, operator.unravel(value), operator.structure), error)


def _leading(matrix: Tridiagonal, order: int) -> Tridiagonal:
    parts = lambda m: (m.diagonal, m.off_diagonal, m.leads_out)
    first = (
        matrix.diagonal[:order],
        matrix.off_diagonal[: order - 1],
        matrix.off_diagonal[order - 1],
    )
    return eqx.tree_at(parts, matrix, first)


def _first_column(matrix: Tridiagonal, function: Callable[[Array], Any]) -> Float[Array, " order"]:
    """f(T) e_1."""
    pairs = ritz(matrix)
    values = function(times_power(pairs.values, matrix.exponent))
    first = pairs.vectors[0]
    # A filler may lie where the function is infinite.
    return pairs.vectors @ jnp.where(first == 0, 0, values * first)
