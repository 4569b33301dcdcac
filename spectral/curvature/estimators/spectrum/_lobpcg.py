"""Eigenvalues at both ends of a spectrum, by the iteration of JAX."""

import jax
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import as_int, check_count, Count
from ...._base._scaling import exponent_of, times_power
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from .._units import scaled_product
from .._vectors import sphere_vector
from ._eigenpairs import Eigenpairs, ExtremeEigenpairs


_ACCURACY = 32  # relative residuals of converged pairs, in units of the machine epsilon


def lobpcg_eigenpairs(
    operator: AbstractOperator,
    *,
    count: Count = 1,
    key: PRNGKeyArray,
    max_steps: Count = 100,
) -> ExtremeEigenpairs:
    """Finds eigenvalues at both ends by LOBPCG: a second opinion on `extreme_eigenpairs`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import lobpcg_eigenpairs, Matrix

    matrix = Matrix(jnp.diag(jnp.arange(20.0)))
    pairs = lobpcg_eigenpairs(matrix, count=2, key=jax.random.key(0))
    pairs.largest.values, pairs.smallest.values  # about [19, 18] and [0, 1]
    ```

    The iteration is JAX's, an independent program. It starts from a block of `count` random
    vectors, so it finds the copies of a multiple eigenvalue, which Lanczos from one vector does
    not. A step takes 4 `count` products, one after the other, in memory of about 9 `count` vectors.
    The smallest eigenvalues are found as the largest ones of c I - A, with c above the largest
    that was found. Near the end with many close eigenvalues it converges slowly: look at
    the `residuals`.

    **Arguments:**

    - `operator`: the matrix.
    - `count`: the number of eigenvalues at each end, below a fifth of the dimension.
    - `key`: for the vectors that the iteration starts from.
    - `max_steps`: the most steps for each end. The iteration stops earlier if all residuals are
        near the rounding of the eigenvalues.

    **Returns:** `ExtremeEigenpairs`, as `extreme_eigenpairs` does. The residuals are computed from
    the vectors by 2 `count` further products.

    **Raises:** `ValueError` if `count` or `max_steps` is not a positive integer, or if 5 `count` is
    not below `operator.dim`; `TypeError` if the result is differentiated.
    """
    check_count("count", count)
    check_count("max_steps", max_steps)
    if 5 * count >= operator.dim:
        raise ValueError(
            f"`count` is {count}, but 5 times it must be below {operator.dim}, the dimension of "
            "the matrix: ask for fewer, or use `extreme_eigenpairs`."
        )
    return _find(operator, as_int(count), as_int(max_steps), key)


@jit_single_threaded
def _find(
    operator: AbstractOperator, count: int, max_steps: int, key: PRNGKeyArray
) -> ExtremeEigenpairs:
    dim, dtype = operator.dim, operator.dtype
    product = scaled_product(operator)
    draw = jax.vmap(lambda index: sphere_vector(key, index, dim, dtype))
    starts = draw(jnp.arange(2 * count))
    # JAX's criterion is a multiple of the dimension, which would accept anything for a large one.
    tolerance = _ACCURACY * float(jnp.finfo(dtype).eps) / (10 * dim)
    # JAX's arrays differ in rank, which the caller may have forbidden.
    with jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
        exponent = exponent_of(product(starts[0], 0))
        unit = lambda vector: product(vector, exponent)

        def at(shift: Float[Array, ""], sign: int, start: Float[Array, "count dim"]) -> Eigenpairs:
            shifted = lambda vector: shift * vector + sign * unit(vector)
            block = lambda columns: jax.lax.map(shifted, columns.T).T
            _, vectors, _ = lobpcg_standard(block, start.T, max_steps, tolerance)
            vectors = (vectors / jnp.linalg.norm(vectors, axis=0, keepdims=True)).T

            def measure(vector: Float[Array, " dim"]) -> tuple[Array, Array]:
                image = unit(vector)
                value = vector @ image
                return value, jnp.linalg.norm(image - value * vector)

            values, residuals = jax.lax.map(measure, vectors)
            # The iteration orders its values before the last step.
            order = jnp.argsort(-sign * values)
            return Eigenpairs(values[order], vectors[order], residuals[order])

        # Without a shift the iteration divides 0 by 0 where A is exactly 0, as for dead units.
        largest = at(jnp.ones((), dtype), 1, starts[:count])
        smallest = at(largest.values[0] + 1, -1, starts[count:])

    def in_units(pairs: Eigenpairs) -> Eigenpairs:
        return Eigenpairs(
            times_power(pairs.values, exponent),
            jax.vmap(operator.unravel)(pairs.vectors),
            times_power(pairs.residuals, exponent),
        )

    return ExtremeEigenpairs(smallest=in_units(smallest), largest=in_units(largest))
