"""How many eigenvalues hold almost all of the trace."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._arguments import check_above, check_fraction
from ._spectrum import AbstractSpectrum


def spectral_energy_rank(
    spectrum: AbstractSpectrum, *, fraction: Real[ArrayLike, ""] = 0.99
) -> Float[Array, ""]:
    """The smallest k for which the k largest |eigenvalues| sum to `fraction` of the sum of all.

    It is 0 for a matrix of zeros. The eigenvalues of F F^T are the squares of the singular values
    of F, so this is the rank by energy of F. The sum of the singular values themselves, as in
    `spectral.models.srank99`, gives another rank.

    ```python
    import jax
    import jax.numpy as jnp
    from spectral.curvature import Dense, Matrix, spectral_energy_rank

    spectrum = Dense()(Matrix(jnp.diag(jnp.array([4.0, 1.0]))), key=jax.random.key(0))
    spectral_energy_rank(spectrum)  # 2
    ```

    **Arguments:**

    - `spectrum`: a spectrum whose eigenvalues are all known, from `Dense`, `GramEigh` or
        `neural_tangent_spectrum`.
    - `fraction`: above 0 and at most 1.

    **Raises:** `ValueError` if the spectrum is an estimate, or if `fraction` is not in this range.
    """
    check_above("fraction", fraction, 0)
    check_fraction("fraction", fraction)
    if not spectrum.exact:
        raise ValueError(
            f"`spectrum` is a {type(spectrum).__name__} from random vectors, but the rank by "
            "energy counts single eigenvalues: use `Dense()` or `GramEigh()`."
        )
    return _rank(spectrum, jnp.asarray(fraction, dtype=float))


@eqx.filter_jit
def _rank(spectrum: AbstractSpectrum, fraction: Float[Array, ""]) -> Float[Array, ""]:
    nodes, weights = spectrum.quadrature()
    sizes = jnp.abs(nodes[0])
    order = jnp.argsort(sizes, descending=True)
    sizes, counts = sizes[order], jnp.round(spectrum.dim * weights[0][order])
    unit = jnp.where(sizes[0] > 0, sizes[0], 1)
    energies = counts * (sizes / unit)
    needed = fraction * jnp.sum(energies)
    before = jnp.cumsum(energies) - energies
    # All eigenvalues before the last node that is needed, and as many of its own as it takes.
    missing = jnp.ceil((needed - before) / jnp.where(sizes > 0, sizes / unit, jnp.inf))
    rank = jnp.sum(jnp.where(before < needed, jnp.minimum(jnp.maximum(missing, 0), counts), 0))
    return jnp.where(jnp.isfinite(jnp.sum(sizes)), rank, jnp.nan)
