"""Whether the gradients of single examples point the same way."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._base._readable import readable
from ..._eigh import eigh
from ..spectra._moments import spectral_effective_rank
from ..spectra._spectrum import known_spectrum
from ._products import GradientProducts


class Collinearity(eqx.Module):
    """Scalars of the matrix C of the cosines between the gradients of single examples."""

    mean_cosine: Float[Array, ""]  # over all pairs, from -1 / (N - 1) to 1
    mean_absolute_cosine: Float[Array, ""]  # over all pairs, from 0 to 1
    rank: Float[Array, ""]  # exp(entropy) of the eigenvalues of C / N, from 1 to N

    __repr__ = readable


@eqx.filter_jit
def gradient_collinearity(products: GradientProducts) -> Collinearity:
    """The cosines between the gradients of the examples (Lyle et al., *Understanding Plasticity in
    Neural Networks*, 2023), summarised.

    Collinear gradients are the degenerate case: all cosines near 1 or -1, and a low rank. Large
    negative cosines are interference. The paper shows the matrix as a picture; the three numbers
    are ours. No constant is added to the norms, which would make small gradients orthogonal.
    Examples without a gradient have no direction and are left out; all numbers are NaN if fewer
    than two examples are left.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_collinearity, gradient_products

    products = gradient_products(jnp.array([[2.0, 0.0], [0.0, 2.0]]))
    gradient_collinearity(products)  # mean cosines 0 and 0, rank 2
    ```

    **Arguments:**

    - `products`: from `gradient_products`.
    """
    cosines, known = products.cosines, products.norms > 0
    count = jnp.sum(known)
    own = jnp.trace(cosines)
    pairs = jnp.where(count > 1, count * (count - 1), jnp.nan)
    size = cosines.shape[0]
    # The eigenvalues of examples without a gradient are 0, and do not count in the entropy.
    eigenvalues = jnp.maximum(eigh(cosines)[0], 0)
    spectrum = known_spectrum(eigenvalues, jnp.full(size, 1 / size, cosines.dtype), size)
    rank = spectral_effective_rank(spectrum).value
    return Collinearity(
        mean_cosine=(jnp.sum(cosines) - own) / pairs,
        mean_absolute_cosine=(jnp.sum(jnp.abs(cosines)) - own) / pairs,
        rank=jnp.where(count > 1, rank, jnp.nan),
    )
