"""Layers in which most connections do not exist."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._arguments import check_above
from ._convolution import Convolution


class Sparse(eqx.Module):
    """A dense layer or convolution whose weights count only where `mask` is true.

    The mask is data, not a parameter: no optimiser changes it, and another one may be put in its
    place while the network trains (`eqx.tree_at(lambda m: m.layers[0].mask, model, mask)`) without
    compiling anew. The other weights begin at zero and have no gradient. Noise and the dense steps
    of Muon write there nevertheless; it has no effect, for all that reads weights reads zeros in
    their place: this layer, and by `connected` penalties, utilities and norms.

    They are still among the parameters: in the spectrum of a Hessian each of them adds a zero.

    ```python
    layer = Sparse(eqx.nn.Linear(100, 10, key=jax.random.key(0)), 0.2, key=jax.random.key(1))
    jnp.sum(layer.mask)   # 200
    ```
    """

    layer: eqx.nn.Linear | Convolution
    mask: Bool[Array, "out in *kernel"]

    def __init__(self, layer: eqx.nn.Linear | Convolution, density: float, *, key: PRNGKeyArray):
        """**Arguments:**

        - `layer`: as it would be with all connections.
        - `density`: the fraction of connections that exist: exactly this many, rounded and at least
          one, drawn uniformly from all.

        **Raises:** `ValueError` for a density that is not above 0 and at most 1.
        """
        check_density(density)
        shape, size = layer.weight.shape, layer.weight.size
        chosen = jax.random.permutation(key, size) < max(1, round(density * size))
        self.mask = chosen.reshape(shape)
        self.layer = eqx.tree_at(lambda d: d.weight, layer, jnp.where(self.mask, layer.weight, 0))

    @property
    def weight(self) -> Any:  # an array, and whatever `eqx.tree_at` puts in its place
        """All weights, those that do not exist included."""
        return self.layer.weight

    @property
    def bias(self) -> Any:
        """The biases of the layer."""
        return self.layer.bias

    def __call__(self, x: Float[Array, "in ..."]) -> Float[Array, "out ..."]:
        weight = jnp.where(self.mask, self.layer.weight, 0)
        return eqx.tree_at(lambda d: d.weight, self.layer, weight)(x)


def connected(model: PyTree) -> PyTree:
    """The model with zeros for the weights that no connection has, in all layers that are `Sparse`.

    ```python
    sparse = models.MLP(64, 10, width=8, density=0.1, key=jax.random.key(0))
    connected(sparse).layers[1].weight  # nine tenths of them are zeros
    ```
    """

    def cut(node: Any) -> Any:
        # The weights of a layer that is frozen are no numbers.
        if not _is_sparse(node) or not eqx.is_inexact_array(node.weight):
            return node
        return eqx.tree_at(lambda s: s.weight, node, jnp.where(node.mask, node.weight, 0))

    return jax.tree.map(cut, model, is_leaf=_is_sparse)


def _is_sparse(node: Any) -> bool:
    return isinstance(node, Sparse)


def check_density(density: float) -> None:
    """**Raises:** `ValueError` for a density that is not above 0 and at most 1."""
    check_above("density", density, 0)
    if density > 1:
        raise ValueError(
            f"`density` is {density}, but must be at most 1: pass the fraction of weights to keep."
        )
