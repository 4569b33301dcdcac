"""The size of a gradient, compared with that of the parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._precision import in_single
from ..._base._readable import readable
from ..._base._scaling import joint_norm


class ParameterRatio(eqx.Module):
    """Norms of gradients divided by norms of parameters."""

    total: Float[Array, ""]  # of all arrays together
    by_tensor: dict[str, Float[Array, ""]]  # of each array, by its path; NaN for an array of zeros

    __repr__ = readable


def gradient_to_parameter_ratio(gradient: PyTree, params: PyTree) -> ParameterRatio:
    """||dL/dW|| / ||W|| for each array W of the parameters, and for all together.

    A larger ratio is said to mean more plasticity; which form Baveja, Lewandowski and Schmidt
    (2025) test is not known. An array of zeros has no ratio: it is NaN. Where the function ignores
    the scale of W, the ratio of a W is a^-2 times that of W.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import gradient_to_parameter_ratio

    ratio = gradient_to_parameter_ratio({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([0.0, 10.0])})
    ratio.by_tensor["w"]  # 0.5
    ```

    **Arguments:**

    - `gradient`: like the parameters, as from `equinox.filter_grad`.
    - `params`: a pytree of floating-point arrays, or a whole Equinox network.
    """
    own = eqx.filter(in_single(params), eqx.is_inexact_array)
    slopes = jax.tree.leaves(in_single(eqx.filter(gradient, eqx.is_inexact_array)))
    found = jax.tree_util.tree_leaves_with_path(own)

    def ratio(
        above: list[Float[Array, "..."]], below: list[Float[Array, "..."]]
    ) -> Float[Array, ""]:
        size = joint_norm(below)
        return jnp.where(size > 0, joint_norm(above) / jnp.where(size > 0, size, 1), jnp.nan)

    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
    pairs = zip(found, slopes, strict=True)
    by_tensor = {name(path): ratio([slope], [leaf]) for (path, leaf), slope in pairs}
    return ParameterRatio(ratio(slopes, [leaf for _, leaf in found]), by_tensor)
