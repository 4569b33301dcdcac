"""Inner products of the gradients of single examples."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._precision import in_single
from ..._base._scaling import exponent_of, times_power


Products = Float[Array, "examples examples"]


class GradientProducts(eqx.Module):
    """The inner products <g_i, g_j> = ||g_i|| ||g_j|| `cosines[i, j]` of the gradients of N
    examples.

    Each gradient is divided by its norm before the products are formed, so they are exact to
    rounding for gradients of any size. A gradient of 0 has the cosine 0 with all.
    """

    norms: Float[Array, " examples"]
    tensors: dict[str, Products]  # the part of each array in the cosines, by its path
    weights: tuple[str, ...] = eqx.field(static=True)  # the arrays of two or more axes

    @property
    def cosines(self) -> Products:
        return jnp.sum(jnp.stack(list(self.tensors.values())), axis=0)

    def in_common_unit(self, part: Products) -> Products:
        """The inner products that belong to a part of the cosines, in units in which the largest
        norm is between 1/2 and 1."""
        norms = times_power(self.norms, -exponent_of(self.norms))
        return norms[:, None] * part * norms[None, :]


@eqx.filter_jit
def gradient_products(gradients: PyTree[Float[Array, "examples ..."]]) -> GradientProducts:
    """The inner products of the gradients of all pairs of examples, which several signs use.

    It takes N^2 P multiplications for N examples and P parameters.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_products

    products = gradient_products(jnp.array([[2.0, 0.0], [0.0, 2.0]]))
    products.norms, products.cosines  # [2, 2] and the identity
    ```

    **Arguments:**

    - `gradients`: as for `gradient_moments`.

    **Raises:** `ValueError` if there are no arrays.
    """
    found = jax.tree_util.tree_leaves_with_path(in_single(gradients))
    if not found:
        raise ValueError(
            f"`gradients` is {gradients!r}, but must have at least one array, `[examples, ...]`: "
            "pass the result of `example_gradients`."
        )
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
    flat = {name(path): leaf.reshape(leaf.shape[0], -1) for path, leaf in found}
    largest = [jnp.max(jnp.abs(leaf), axis=1, initial=0) for leaf in flat.values()]
    exponent = exponent_of(jnp.stack(largest), 0)
    scaled = {path: times_power(leaf, -exponent[:, None]) for path, leaf in flat.items()}
    squares = jnp.stack([jnp.sum(leaf**2, axis=1) for leaf in scaled.values()])
    lengths = jnp.sqrt(jnp.sum(squares, axis=0))
    unit = jnp.where(lengths > 0, lengths, 1)[:, None]

    def products(leaf: Float[Array, "examples entries"]) -> Products:
        return jnp.matmul(leaf / unit, (leaf / unit).T, precision="highest")

    return GradientProducts(
        norms=times_power(lengths, exponent),
        tensors={path: products(leaf) for path, leaf in scaled.items()},
        weights=tuple(name(path) for path, leaf in found if leaf.ndim > 2),
    )
