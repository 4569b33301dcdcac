"""The spectrum of a matrix that is written out."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...._arguments import check_count
from ...._blas import single_threaded_blas
from ...operators._operator import AbstractOperator
from ...spectra._spectrum import known_spectrum, Spectrum


class Dense(eqx.Module):
    """Every eigenvalue of a small matrix, by writing it out: the truth for all other estimators.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Dense, epsilon_rank, Hessian

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Dense()(hessian, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # 9
    ```

    This takes `dim` products, memory for a few times dim^2 numbers and a time that grows as dim^3:
    for 1000 parameters about a second, for 5000 minutes. All eigenvalues have the weight 1 / dim
    and are right to rounding, which is relative to the largest. The key is not used.

    **Arguments:**

    - `limit`: the largest dimension that is not refused.

    **Raises:** `ValueError` if `limit` is not a positive integer, and when called if
    `operator.dim` is larger.
    """

    _: KW_ONLY
    limit: int = eqx.field(static=True, default=5000)

    def __check_init__(self):
        check_count("limit", self.limit)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Find every eigenvalue of `operator`."""
        del key
        if operator.dim > self.limit:
            raise ValueError(
                f"The matrix has {operator.dim} rows, but `limit` is {self.limit}: writing it out "
                "takes dim^2 numbers and dim^3 operations. Estimate its spectrum with `Lanczos()`, "
                "or raise the limit of `Dense`."
            )
        with single_threaded_blas():
            return jax.block_until_ready(_solve(operator))


@eqx.filter_jit
def _solve(operator: AbstractOperator) -> Spectrum:
    eigenvalues = jnp.linalg.eigvalsh(operator.dense())
    return known_spectrum(eigenvalues, jnp.full_like(eigenvalues, 1 / operator.dim), operator.dim)
