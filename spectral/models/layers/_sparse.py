"""Layers in which only a fraction of the connections exists."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above
from ._convolution import Convolution


class Sparse(eqx.Module):
    """A dense layer or convolution whose weights exist only where `mask` is true.

    The mask is data, not a parameter: no optimiser changes it, and it can be replaced during
    training (`eqx.tree_at(lambda m: m.layers[0].mask, model, mask)`) without recompiling. Weights
    outside the mask are initialised to zero and have no gradient. Noise and the dense steps of Muon
    still write to them, without effect: this layer reads zeros in their place, and so do penalties,
    utilities and norms, which use `connected`.

    Weights outside the mask are still parameters: each adds a zero to the spectrum of a Hessian.

    ```python
    layer = Sparse(eqx.nn.Linear(100, 10, key=jax.random.key(0)), 0.2, key=jax.random.key(1))
    jnp.sum(layer.mask)   # 200
    ```
    """

    layer: eqx.nn.Linear | Convolution
    mask: Bool[Array, "out in *kernel"]

    def __init__(self, layer: eqx.nn.Linear | Convolution, density: float, *, key: PRNGKeyArray):
        """**Arguments:**

        - `layer`: the layer with all connections.
        - `density`: the fraction of connections that exist. Their number is rounded and at least
          one; they are drawn uniformly from all connections.

        **Raises:** `ValueError` if `density` is not above 0 and at most 1.
        """
        check_density(density)
        shape, size = layer.weight.shape, layer.weight.size
        chosen = jax.random.permutation(key, size) < max(1, round(density * size))
        self.mask = chosen.reshape(shape)
        self.layer = eqx.tree_at(lambda d: d.weight, layer, jnp.where(self.mask, layer.weight, 0))

    @property
    def weight(self) -> Any:  # an array, or a placeholder of `eqx.tree_at`
        """All weights, including those outside the mask."""
        return self.layer.weight

    @property
    def bias(self) -> Any:
        """The biases of the layer."""
        return self.layer.bias

    def __call__(self, x: Float[Array, "in ..."]) -> Float[Array, "out ..."]:
        weight = jnp.where(self.mask, self.layer.weight, 0)
        return eqx.tree_at(lambda d: d.weight, self.layer, weight)(x)


def connected(model: PyTree) -> PyTree:
    """Returns the model with zeros for all weights outside the masks of its `Sparse` layers.

    ```python
    sparse = models.MLP(64, 10, width=8, density=0.1, key=jax.random.key(0))
    connected(sparse).layers[1].weight  # nine tenths are zeros
    ```
    """

    def cut(node: Any) -> Any:
        # The weights of a frozen layer are not floating-point arrays.
        if not _is_sparse(node) or not eqx.is_inexact_array(node.weight):
            return node
        return eqx.tree_at(lambda s: s.weight, node, jnp.where(node.mask, node.weight, 0))

    return jax.tree.map(cut, model, is_leaf=_is_sparse)


def _is_sparse(node: Any) -> bool:
    return isinstance(node, Sparse)


def check_density(density: float) -> None:
    """**Raises:** `ValueError` if `density` is not above 0 and at most 1."""
    check_above("density", density, 0)
    if density > 1:
        raise ValueError(
            f"`density` is {density}, but must be at most 1: pass the fraction of weights to keep."
        )
