"""Lanczos quadrature with the iteration of matfree."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from matfree import decomp

from ...._base._scaling import exponent_of
from .._units import ScaledProduct
from ._quadrature import AbstractLanczosQuadrature
from ._tridiagonal import Tridiagonal


class MatfreeLanczos(AbstractLanczosQuadrature):
    """Stochastic Lanczos quadrature with the iteration of matfree: a second opinion on `Lanczos`.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import epsilon_rank, Matrix, MatfreeLanczos

    matrix = Matrix(jnp.diag(jnp.arange(10.0) ** 2))  # eigenvalues 0, 1, 4, ..., 81
    spectrum = MatfreeLanczos(order=10)(matrix, key=jax.random.key(0))
    epsilon_rank(spectrum, 0.5).value  # about 9
    ```

    The same key gives the same random vectors as in `Lanczos`, and the iteration is an independent
    program. So if the two agree, neither is likely to be wrong. One more product for each vector
    finds the scale of the matrix. The iteration does not detect the end of the Krylov space. **If
    most rows of a matrix are zero, as in a collapsed network, it returns rounding errors as nodes,
    far outside the spectrum but with almost no weight; for a zero matrix it returns NaN.** It never
    marks a spectrum as exhausted.

    **Arguments:** those of `Lanczos`, without `orthogonalisation`.

    **Raises:** `ValueError` as `Lanczos` does.
    """

    def tridiagonal(
        self,
        product: ScaledProduct,
        vector: Float[Array, " dim"],
        length: Float[Array, ""],
        order: int,
        *,
        key: PRNGKeyArray,
        index: Int[Array, ""],
    ) -> Tridiagonal:
        del key, index  # matfree never restarts
        exponent = exponent_of(product(vector / length, 0))
        decompose = decomp.tridiag_sym(order, materialize=False, custom_vjp=False)
        _, (diagonal, off_diagonal), residual, _ = decompose(lambda v: product(v, exponent), vector)
        scale = jnp.max(jnp.abs(diagonal))
        return Tridiagonal(
            diagonal=diagonal,
            off_diagonal=off_diagonal,
            leads_out=jnp.linalg.norm(residual),
            exhausted=jnp.array(False),
            tolerance=10 * jnp.finfo(scale.dtype).eps * scale,
            dimensions=jnp.asarray(order),
            exponent=exponent,
        )
