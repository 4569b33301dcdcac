"""The spectrum of a Gauss-Newton matrix from the smaller Gram matrix."""

from dataclasses import KW_ONLY

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...._arguments import as_int, check_count
from ...._eigh import eigvalsh
from ...operators._operator import AbstractOperator
from ...operators._single_threaded import jit_single_threaded
from ...spectra._spectrum import known_spectrum, Spectrum
from .._gram_of import gram_of


class GramEigh(eqx.Module):
    """Every eigenvalue of a Gauss-Newton or Fisher matrix F F^T, from its Gram matrix F^T F.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import GaussNewton, GramEigh, Risk, SquaredError

    x, y = jnp.eye(3, 20), jnp.zeros((3, 1))
    risk = Risk(lambda w, x: x @ w, SquaredError(), x, y)
    spectrum = GramEigh()(GaussNewton(risk, jnp.zeros((20, 1))), key=jax.random.key(0))
    spectrum.nodes[0]  # 0 (17 times) and three eigenvalues of 1/3
    ```

    F has one row for each parameter and one column for each example and output. So the size of the
    Gram matrix is the number of examples times outputs, for any number of parameters. The two
    matrices have the same nonzero eigenvalues, each of weight 1 / dim; all other eigenvalues are
    zero. The eigenvalues are correct to rounding, relative to the largest. The key is not used.

    The `Block` of a layer has a Gram matrix of the same size, so the spectra of single layers are
    just as exact: `GramEigh()(layer_blocks(ggn)["layers.0"], key=key)`.

    **Arguments:**

    - `limit`: the largest number of rows of a Gram matrix that is accepted.

    **Raises:** `ValueError` if `limit` is not a positive integer, and when called if the Gram
    matrix has more rows; `TypeError` when called with an operator that has no method `gram`.
    """

    _: KW_ONLY
    limit: int = eqx.field(static=True, default=10_000, converter=as_int)

    def __check_init__(self):
        check_count("limit", self.limit)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Finds every eigenvalue of `operator`."""
        del key
        gram = gram_of(operator, "GramEigh", "another estimator, such as `Lanczos()`")
        if gram.dim > self.limit:
            raise ValueError(
                f"The Gram matrix has {gram.dim} rows (examples times outputs), but `limit` is "
                f"{self.limit}: use fewer examples, raise the limit of `GramEigh`, or "
                "estimate the spectrum with `Lanczos()`."
            )
        return _solve(gram, operator.dim)


@jit_single_threaded
def _solve(gram: AbstractOperator, dim: int) -> Spectrum:
    # F^T F is positive semi-definite, so negative eigenvalues are rounding.
    eigenvalues = jnp.maximum(eigvalsh(gram.dense()), 0)
    # Each column of F beyond the number of rows adds a zero to the eigenvalues.
    eigenvalues = eigenvalues[max(gram.dim - dim, 0) :]
    fractions = jnp.full_like(eigenvalues, 1 / dim)
    if gram.dim < dim:
        zero, rest = jnp.zeros_like(eigenvalues[:1]), (dim - gram.dim) / dim
        eigenvalues = jnp.concatenate([zero, eigenvalues])
        fractions = jnp.concatenate([jnp.full_like(zero, rest), fractions])
    return known_spectrum(eigenvalues, fractions, dim)
