"""The spectrum of a Kronecker-factored matrix."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...kronecker._kronecker import AbstractKronecker
from ...operators._block import reduce_block
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._kronecker_spectrum import KroneckerSpectrum


class KroneckerEigh(eqx.Module):
    """Every eigenvalue of `KFAC` or `EKFAC`, from the eigenvalues of the factors.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import KFAC, KroneckerEigh, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(3), jnp.zeros((3, 2)))
    spectrum = KroneckerEigh()(KFAC(risk, model), key=jax.random.key(1))
    spectrum.mass_above(1e-3).value  # the exact fraction of the eigenvalues above 1e-3
    ```

    The result is exact for the factors; `kfac_error` answers how far they are from the matrix that
    they approximate. This computes the eigenvalues of two matrices for each layer. For `KFAC` the
    memory is smaller than one number for each parameter. The key is not used.

    A `Block` may keep any parameters of `KFAC`, and must keep whole layers of the others.

    **Raises:** `TypeError` when called with any other operator, and `ValueError` for a block of
    `EKFAC` that keeps a part of a layer.
    """

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> KroneckerSpectrum:
        """Finds every eigenvalue of `operator`."""
        del key
        operator = reduce_block(operator)
        if not isinstance(operator, AbstractKronecker):
            raise TypeError(
                f"A {type(operator).__name__} has no Kronecker factors, but `KroneckerEigh` takes "
                "`KFAC`, `EKFAC`, their damped inverses and blocks of these: pass one of them, or "
                "use another estimator, such as `Lanczos()`."
            )
        return _solve(operator)


@jit_single_threaded
def _solve(operator: AbstractKronecker) -> KroneckerSpectrum:
    factors = [block.eigenvalues() for block in operator.blocks]
    if operator.unused:
        factors.append((jnp.full(operator.unused, operator.rest), jnp.ones(1, operator.dtype)))
    largest = jnp.max(jnp.stack([longer[-1] * shorter[-1] for longer, shorter in factors]))
    # The error of a backward stable solver, once for each factor.
    tolerance = 20 * jnp.finfo(largest.dtype).eps * largest
    return KroneckerSpectrum(factors=tuple(factors), tolerance=tolerance, dim=operator.dim)
