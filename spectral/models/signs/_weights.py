"""How large the weights are, and how far they have moved."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..._base._scaling import joint_norm
from ..layers._sparse import connected


def largest_singular_values(model: PyTree) -> Float[Array, " matrices"]:
    """The largest singular value of each weight matrix, in the order of the parameters.

    A parameter with two axes or more is a matrix; the kernel of a convolution counts as a matrix
    [channels out, channels in x positions], as in the penalty `SpectralNorm`, which pulls these
    numbers to 1. Missing connections of sparse layers are zeros. Each matrix is decomposed. A
    network without matrices has none.

    ```python
    largest_singular_values(model)  # [matrices]
    ```
    """
    params = jax.tree.leaves(eqx.filter(connected(model), eqx.is_inexact_array))
    matrices = [p.reshape(p.shape[0], -1) for p in params if p.ndim > 1]
    largest = [jnp.linalg.svd(m, compute_uv=False)[0].astype(float) for m in matrices]
    return jnp.stack(largest) if largest else jnp.zeros(0)


def weight_distance(model: PyTree, other: PyTree) -> Float[Array, ""]:
    """The Euclidean norm of the difference of all parameters of two networks of one structure.

    Missing connections of sparse layers are zeros.

    ```python
    eqx.filter_jit(weight_distance)(model, model)  # 0
    ```
    """
    params = lambda m: jax.tree.leaves(eqx.filter(connected(m), eqx.is_inexact_array))
    return joint_norm([a - b for a, b in zip(params(model), params(other), strict=True)])


def weight_norm(model: PyTree) -> Float[Array, ""]:
    """The Euclidean norm of all parameters, with zeros for missing connections of sparse layers.

    ```python
    eqx.filter_jit(weight_norm)(model)
    ```
    """
    return joint_norm(jax.tree.leaves(eqx.filter(connected(model), eqx.is_inexact_array)))


def mean_weight_magnitude(model: PyTree) -> Float[Array, ""]:
    """The mean |w| of all parameters, with zeros for missing connections of sparse layers.

    Dohare et al. (2024) show it beside the loss of plasticity.

    ```python
    mean_weight_magnitude(model)
    ```
    """
    params = eqx.filter(connected(model), eqx.is_inexact_array)
    size = sum(p.size for p in jax.tree.leaves(params))
    return jnp.asarray(optax.tree_utils.tree_norm(params, ord=1) / size)
