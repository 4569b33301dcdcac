"""The spectrum of a Kronecker-factored matrix."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...._blas import single_threaded_blas
from ...kronecker._kronecker import AbstractKronecker
from ...operators._block import Block
from ...operators._operator import AbstractOperator
from ...spectra._kronecker_spectrum import KroneckerSpectrum


class KroneckerEigh(eqx.Module):
    """Every eigenvalue of `KFAC` or `EKFAC`, from the eigenvalues of the factors.

    ```python
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, KFAC, KroneckerEigh, Risk, SquaredError

    def forward(model, inputs):
        return jax.vmap(model)(inputs)

    model = eqx.nn.MLP(20, 2, 50, 1, key=jax.random.key(0))
    risk = Risk(forward, SquaredError(), jnp.eye(10, 20), jnp.zeros((10, 2)))
    spectrum = KroneckerEigh()(KFAC(risk, model), key=jax.random.key(1))
    epsilon_rank(spectrum, 1e-3).value  # a whole number
    ```

    Exact for the factors; how far these are from the matrix that they stand for is another
    question, which `kfac_error` answers. It takes the eigenvalues of two matrices per layer, and
    for `KFAC` no memory for as many numbers as there are parameters. The key is not used.

    A `Block` may keep any parameters of `KFAC`, and must keep whole layers of the others.

    **Raises:** `TypeError` when called for any other operator, and `ValueError` for a block of
    `EKFAC` that keeps a layer in part.
    """

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> KroneckerSpectrum:
        """Find every eigenvalue of `operator`."""
        del key
        operator = operator.reduced() if isinstance(operator, Block) else operator
        if not isinstance(operator, AbstractKronecker):
            raise TypeError(
                f"A {type(operator).__name__} has no Kronecker factors, but `KroneckerEigh` takes "
                "`KFAC`, `EKFAC`, their damped inverses and blocks of these: pass one of them, or "
                "use another estimator, such as `Lanczos()`."
            )
        with single_threaded_blas():
            return jax.block_until_ready(_solve(operator))


@eqx.filter_jit
def _solve(operator: AbstractKronecker) -> KroneckerSpectrum:
    factors = [block.eigenvalues() for block in operator.blocks]
    if operator.unused:
        factors.append((jnp.full(operator.unused, operator.rest), jnp.ones(1, operator.dtype)))
    largest = jnp.max(jnp.stack([longer[-1] * shorter[-1] for longer, shorter in factors]))
    # What backward stable solvers leave, once for each factor.
    tolerance = 20 * jnp.finfo(largest.dtype).eps * largest
    return KroneckerSpectrum(factors=tuple(factors), tolerance=tolerance, dim=operator.dim)
