"""The spectrum of a Gauss-Newton matrix from the smaller Gram matrix."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ...._arguments import check_count
from ...._blas import single_threaded_blas
from ...operators._block import Block
from ...operators._operator import AbstractOperator
from ...spectra._spectrum import known_spectrum, Spectrum


class GramEigh(eqx.Module):
    """Every eigenvalue of a Gauss-Newton or Fisher matrix F F^T, from its Gram matrix F^T F.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, GaussNewton, GramEigh, Risk, SquaredError

    x, y = jnp.eye(3, 20), jnp.zeros((3, 1))
    risk = Risk(lambda w, x: x @ w, SquaredError(), x, y)
    spectrum = GramEigh()(GaussNewton(risk, jnp.zeros((20, 1))), key=jax.random.key(0))
    epsilon_rank(spectrum, 0.1).value  # 3 of 20
    ```

    F has one row for each parameter and one column for each example and output, so the Gram matrix
    has as many rows as there are examples times outputs, however large the network is. The nonzero
    eigenvalues of the two are the same, each of weight 1 / dim; all others are zero. Eigenvalues
    are right to rounding, which is relative to the largest. The key is not used.

    The `Block` of a layer has a Gram matrix of the same size, so the spectra of single layers are
    as exact: `GramEigh()(layer_blocks(ggn)["layers.0"], key=key)`.

    **Arguments:**

    - `limit`: the largest Gram matrix that is not refused.

    **Raises:** `ValueError` if `limit` is not a positive integer, and when called if the Gram
    matrix has more rows; `TypeError` when called for an operator that has no method `gram`.
    """

    _: KW_ONLY
    limit: int = eqx.field(static=True, default=10_000)

    def __check_init__(self):
        check_count("limit", self.limit)

    def __call__(self, operator: AbstractOperator, *, key: PRNGKeyArray) -> Spectrum:
        """Find every eigenvalue of `operator`."""
        del key
        operator = operator.reduced() if isinstance(operator, Block) else operator
        gram: Any = getattr(operator, "gram", None)
        if gram is None:
            raise TypeError(
                f"A {type(operator).__name__} has no Gram matrix, but `GramEigh` needs an "
                "operator with the method `gram`: pass a `GaussNewton` or a `Fisher`, or use "
                "another estimator, such as `Lanczos()`."
            )
        if gram().dim > self.limit:
            raise ValueError(
                f"The Gram matrix has {gram().dim} rows (examples times outputs), but `limit` is "
                f"{self.limit}: take fewer examples, raise the limit of `GramEigh`, or "
                "estimate the spectrum with `Lanczos()`."
            )
        with single_threaded_blas():
            return jax.block_until_ready(_solve(gram(), operator.dim))


@eqx.filter_jit
def _solve(gram: AbstractOperator, dim: int) -> Spectrum:
    # No eigenvalue of F^T F is negative: what rounding left below zero is zero.
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh(gram.dense()), 0)
    # More columns than parameters have at least the surplus of zeros among their eigenvalues.
    eigenvalues = eigenvalues[max(gram.dim - dim, 0) :]
    fractions = jnp.full_like(eigenvalues, 1 / dim)
    if gram.dim < dim:
        zero, rest = jnp.zeros_like(eigenvalues[:1]), (dim - gram.dim) / dim
        eigenvalues = jnp.concatenate([zero, eigenvalues])
        fractions = jnp.concatenate([jnp.full_like(zero, rest), fractions])
    return known_spectrum(eigenvalues, fractions, dim)
