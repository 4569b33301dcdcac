"""Eigenvalues at both ends of a spectrum, with their eigenvectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count, Count
from ...._base._scaling import times_power
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from .._units import scaled_product
from .._vectors import sphere_vector
from ._order import check_order, order_within
from ._tridiagonal import ritz, tridiagonalise


class Eigenpairs(eqx.Module):
    """Approximate eigenvalues and eigenvectors y of length 1, the outermost first.

    An eigenvalue lies within `residuals`, the norms of A y - theta y, of each of the `values`.
    """

    values: Float[Array, " count"]
    vectors: PyTree[Float[Array, "count ..."]]  # each leaf like one of the parameters, stacked
    residuals: Float[Array, " count"]


class ExtremeEigenpairs(eqx.Module):
    """The smallest eigenvalues, in ascending order, and the largest, in descending order."""

    smallest: Eigenpairs
    largest: Eigenpairs


def extreme_eigenpairs(
    operator: AbstractOperator,
    *,
    count: Count = 1,
    key: PRNGKeyArray,
    order: Count | None = None,
) -> ExtremeEigenpairs:
    """Finds the eigenvalues at both ends of the spectrum, with eigenvectors, by Lanczos.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import extreme_eigenpairs, Hessian

    hessian = Hessian(lambda x: jnp.sum(x["w"] ** 4) / 12, {"w": jnp.arange(10.0)})
    pairs = extreme_eigenpairs(hessian, count=2, key=jax.random.key(0))
    pairs.largest.values  # about [81, 64]
    pairs.largest.vectors["w"]  # [2, 10]
    pairs.smallest.values  # about [0, 1]
    ```

    **Arguments:**

    - `operator`: the matrix.
    - `count`: the number of eigenvalues at each end.
    - `key`: for the vector that the iteration starts from.
    - `order`: products with the matrix, and vectors in memory; by default the larger of 40 and
        `4 * count`, but at most the dimension. Raise it if the `residuals` are too large.
        Eigenvalues far from the others converge first.

    **Returns:** `ExtremeEigenpairs`, whose vectors are like the parameters with a leading axis
    `count`. The residuals take `2 * count` more products. The Krylov space of one vector contains
    one eigenvector of each eigenvalue. So the copies of a multiple eigenvalue are found only if
    that space ends and the iteration restarts.

    **Raises:** `ValueError` if `count` or `order` is not a positive integer, if `order` is larger
    than `operator.dim`, or if `count` is larger than the order.
    """
    check_count("count", count)
    check_order("order", order)
    order = order_within("order", order, operator.dim, default=max(40, 4 * int(count)))
    if count > order:
        raise ValueError(
            f"`count` is {count}, but must be at most {order}, the order of the iteration: raise "
            "`order`, or ask for fewer."
        )
    return _find(operator, as_int(count), order, key)


@jit_single_threaded
def _find(
    operator: AbstractOperator, count: int, order: int, key: PRNGKeyArray
) -> ExtremeEigenpairs:
    with jax.default_matmul_precision("highest"):
        product = scaled_product(operator)
        start = sphere_vector(key, 0, operator.dim, operator.dtype)
        matrix, basis = tridiagonalise(product, start, order, key=key, index=0)
        pairs = ritz(matrix)

        def at(columns: slice) -> Eigenpairs:
            values, vectors = pairs.values[columns], pairs.vectors[:, columns].T @ basis
            vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)

            def residual(pair: tuple[Array, Array]) -> Array:
                value, vector = pair
                return jnp.linalg.norm(product(vector, matrix.exponent) - value * vector)

            residuals = jax.lax.map(residual, (values, vectors))
            return Eigenpairs(
                times_power(values, matrix.exponent),
                jax.vmap(operator.unravel)(vectors),
                times_power(residuals, matrix.exponent),
            )

        return ExtremeEigenpairs(
            smallest=at(slice(None, count)), largest=at(slice(None, -count - 1, -1))
        )
