"""A check that an operator is symmetric and finite."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import as_int, check_above, check_count, Count
from ..._base._scaling import exponent_of, times_power
from ._operator import AbstractOperator


def check_symmetric(
    operator: AbstractOperator,
    *,
    key: PRNGKeyArray,
    num_pairs: Count = 3,
    tolerance: float | None = None,
) -> None:
    """Checks that a matrix is symmetric and that its products are finite.

    Estimators assume both and return meaningless numbers for any other matrix. For random vectors u
    and v, the check compares |u . A v - v . A u| with ||A u|| + ||A v||. The quotient is about
    ||A - A^T|| / (2 ||A||) in Frobenius norms, for any dimension.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import check_symmetric, Matrix

    check_symmetric(Matrix(jnp.eye(3)), key=jax.random.key(0))
    ```

    **Arguments:**

    - `operator`: any operator. It is evaluated, so this does not work inside `jax.jit`.
    - `num_pairs`: pairs of random vectors, which cost two products each.
    - `tolerance`: the largest quotient that counts as rounding. By default the square root of the
        machine epsilon of the coarsest type in `operator.structure`: 3e-4 for float32, 0.09
        for bfloat16.

    **Raises:** `ValueError` if a product is not finite, if the matrix is not symmetric, if
    `num_pairs` is not a positive integer, or if `tolerance` is not positive.
    """
    check_count("num_pairs", num_pairs)
    if tolerance is None:
        leaves = jax.tree.leaves(operator.structure)
        tolerance = math.sqrt(max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves))
    check_above("tolerance", tolerance, 0.0)
    differences, scales = _compare(operator, as_int(num_pairs), key)
    if not bool(jnp.all(jnp.isfinite(differences))):
        raise ValueError(
            "`operator` has products that are not finite, but estimators need finite products: "
            "look for NaN and infinity in the loss, its gradient and the parameters."
        )
    quotient = float(jnp.max(differences / jnp.where(scales > 0, scales, 1)))
    if quotient > tolerance:
        raise ValueError(
            f"`operator` is not symmetric: u . A v and v . A u differ by {quotient:.1e} of "
            f"||A u|| + ||A v||, but by at most {tolerance:.1e} for a symmetric matrix. Estimators "
            "accept symmetric matrices only: pass the symmetric part, or fix the product."
        )


@eqx.filter_jit
def _compare(
    operator: AbstractOperator, num_pairs: int, key: PRNGKeyArray
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
    product, dim, dtype = operator.flat_product(), operator.dim, operator.dtype

    def one(key: PRNGKeyArray) -> tuple[Float[Array, ""], Float[Array, ""]]:
        u, v = jax.random.normal(key, (2, dim), dtype)
        images = jnp.stack([product(u), product(v)])
        # Squares of very small or large entries would underflow or overflow.
        image_of_u, image_of_v = times_power(images, -exponent_of(images))
        scale = jnp.linalg.norm(image_of_u) + jnp.linalg.norm(image_of_v)
        return jnp.abs(jnp.sum(u * image_of_v) - jnp.sum(v * image_of_u)), scale

    return jax.lax.map(one, jax.random.split(key, num_pairs))
