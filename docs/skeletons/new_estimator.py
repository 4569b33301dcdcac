"""A new estimator: one file in `curvature/estimators/spectrum/` (or `trace/`), one row in
`ESTIMATORS` of `tests/tables.py`.

An estimator says how a spectrum, a trace or a diagonal is found: `estimator(operator, *, key)`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from spectral.curvature import AbstractOperator, Estimate, Matrix


class RayleighQuotient(eqx.Module):
    """Estimate trace / dim by v . A v for one random unit vector v."""

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Estimate:
        product = operator.flat_product()  # once, outside of any loop
        vector = jax.random.normal(key, (operator.dim,), operator.dtype)
        vector = vector / jnp.linalg.norm(vector)
        # Every estimate carries its error; it is unknown for a single vector.
        return Estimate(value=vector @ product(vector), sem=jnp.asarray(jnp.nan))


def identity(dim: int) -> Float[Array, "dim dim"]:
    return jnp.eye(dim)


if __name__ == "__main__":
    print(RayleighQuotient()(Matrix(identity(3)), key=jax.random.key(0)).value)  # 1
