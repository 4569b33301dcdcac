"""The rank of the empirical Fisher matrix, as a sign of lost plasticity."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ..._base._readable import readable
from ..._eigh import eigh
from ..spectra._energy_rank import spectral_energy_rank
from ..spectra._spectrum import known_spectrum
from ._products import GradientProducts, Products


class FisherRank(eqx.Module):
    """How many eigenvalues of the empirical Fisher matrix hold almost all of its trace."""

    joint: Float[Array, ""]  # of all weights
    by_tensor: dict[str, Float[Array, ""]]  # of each array of weights, by its path

    __repr__ = readable


@eqx.filter_jit
def empirical_fisher_rank(
    products: GradientProducts, *, fraction: Real[ArrayLike, ""] = 0.99
) -> FisherRank:
    """The smallest k for which the k largest squared singular values of the matrix whose rows are
    the gradients of the examples sum to `fraction` of all.

    Higher is said to mean more plasticity. Lewandowski et al., *Directions of Curvature as an
    Explanation for Loss of Plasticity* (2023), approximate the effective rank of the Hessian so.
    Their threshold is not known. Squares, 0.99 and the restriction to weights (arrays of two or
    more axes, without biases) are those of a public re-implementation. The rank is at most the
    number of examples, whatever the network. The empirical Fisher matrix vanishes with the loss,
    while the Hessian and the Gauss-Newton matrix need not.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import empirical_fisher_rank, gradient_products

    weight = jnp.array([[2.0, 0.0], [0.0, 2.0]])[:, None]  # [examples, 1, 2]
    empirical_fisher_rank(gradient_products(weight)).joint  # 2
    ```

    **Arguments:**

    - `products`: from `gradient_products`.
    - `fraction`: above 0 and at most 1.

    **Raises:** `ValueError` if there are no weights, or if `fraction` is not in this range.
    """
    if not products.weights:
        raise ValueError(
            f"`products` is of the arrays {sorted(products.tensors)}, but this rank is that of "
            "arrays of two or more axes, and there are none: use `gradient_collinearity`."
        )

    def rank(part: Products) -> Float[Array, ""]:
        eigenvalues = jnp.maximum(eigh(products.in_common_unit(part))[0], 0)
        size = eigenvalues.size
        fractions = jnp.full(size, 1 / size, eigenvalues.dtype)
        return spectral_energy_rank(known_spectrum(eigenvalues, fractions, size), fraction=fraction)

    own = {name: products.tensors[name] for name in products.weights}
    joint = jnp.sum(jnp.stack(list(own.values())), axis=0)
    return FisherRank(rank(joint), {name: rank(part) for name, part in own.items()})
