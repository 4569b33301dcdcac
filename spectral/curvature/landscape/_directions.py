"""Random directions along which the losses of different networks can be compared."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._base._scaling import norm
from ..risk._parameters import split_parameters


Weight = Float[Array, "*shape"]


def filter_normalised_direction(
    params: PyTree, *, key: PRNGKeyArray, output_axis: int = 0
) -> PyTree:
    """A random Gaussian direction with the scale of the weights (Li et al. 2018, section 4).

    In each weight, the slice of every output (a row of a matrix, a filter of a convolution) is
    scaled to the norm of the same slice of the weight. The direction is 0 for parameters with at
    most one axis (biases, normalisation), and for the biases of `eqx.nn.Conv`, which have more
    axes. If a normalisation follows a weight, scaling the weight has no effect on the network, and
    then it does not change the landscape either.

    **Arguments:**

    - `params`: any pytree of floating-point arrays, or a whole Equinox network.
    - `output_axis`: the axis over the outputs: 0 for the weights of Equinox and PyTorch, -1 for
        the kernels of Flax.

    **Returns:** a pytree like the floating-point arrays of `params`.

    **Raises:** `ValueError` if a number in `params` is not in a floating-point array.

    ```python
    direction = filter_normalised_direction(model, key=jax.random.key(0))
    ```
    """
    dynamic, _ = split_parameters(params)
    leaves, structure = jax.tree.flatten(dynamic)
    keys = jax.random.split(key, len(leaves))
    # The biases of convolutions have spatial axes of length 1, so their shapes look like weights.
    layers = filter(_is_convolution, jax.tree.leaves(dynamic, is_leaf=_is_convolution))
    biases = {id(layer.bias) for layer in layers}
    scaled = [
        jnp.zeros_like(w) if id(w) in biases else _filters(w, k, output_axis)
        for w, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, scaled)


def _is_convolution(node: Any) -> bool:
    return isinstance(node, eqx.nn.Conv | eqx.nn.ConvTranspose)


def _filters(weight: Weight, key: PRNGKeyArray, output_axis: int) -> Weight:
    if weight.ndim < 2:
        return jnp.zeros_like(weight)
    axes = tuple(a for a in range(weight.ndim) if a != output_axis % weight.ndim)
    noise = jax.random.normal(key, weight.shape, weight.dtype)
    return noise * (norm(weight, axes, keepdims=True) / norm(noise, axes, keepdims=True))
