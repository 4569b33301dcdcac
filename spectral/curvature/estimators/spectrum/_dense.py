"""The spectrum of a matrix that is written out."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._eigh import eigvalsh
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._spectrum import known_spectrum, Spectrum


class Dense(eqx.Module):
    """Every eigenvalue of a small matrix, which is written out: the reference for all estimators.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Dense, Hessian

    hessian = Hessian(lambda x: jnp.sum(x**4) / 12, jnp.arange(10.0))
    spectrum = Dense()(hessian, key=jax.random.key(0))
    spectrum.nodes[0]  # 0, 1, 4, ..., 81
    ```

    This takes `dim` products, memory for a few times dim^2 numbers, and time that grows as dim^3:
    about a second for 1000 parameters, minutes for 5000. Every eigenvalue has the weight 1 / dim.
    The eigenvalues are correct to rounding, relative to the largest. The key is not used.

    **Arguments:**

    - `limit`: the largest dimension that is accepted.

    **Raises:** `ValueError` if `limit` is not a positive integer, and when called if
    `operator.dim` is larger.
    """

    _: KW_ONLY
    limit: int = eqx.field(static=True, default=5000, converter=as_int)

    def __check_init__(self):
        check_count("limit", self.limit)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Finds every eigenvalue of `operator`."""
        del key
        if operator.dim > self.limit:
            raise ValueError(
                f"The matrix has {operator.dim} rows, but `limit` is {self.limit}, because writing "
                "it out takes dim^2 numbers and dim^3 operations: estimate its spectrum with "
                "`Lanczos()`, or raise the limit of `Dense`."
            )
        return _solve(operator)


@jit_single_threaded
def _solve(operator: AbstractOperator) -> Spectrum:
    eigenvalues = eigvalsh(operator.dense())
    return known_spectrum(eigenvalues, jnp.full_like(eigenvalues, 1 / operator.dim), operator.dim)
