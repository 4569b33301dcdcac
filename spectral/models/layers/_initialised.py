"""Dense layers and convolutions with initialised weights, and the steps between layers."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._call_key import call_with_key
from ._channels_last import channels_last
from ._convolution import Convolution
from ._initialisers import AbstractInitialiser
from ._sparse import check_density, Sparse
from .activations._activation import AbstractActivation


def dense(
    in_size: int,
    out_size: int,
    *,
    initialiser: AbstractInitialiser,
    key: PRNGKeyArray,
    use_bias: bool = True,
) -> eqx.nn.Linear:
    """A dense layer."""
    # Shapes alone, so that Equinox draws nothing.
    layer = eqx.filter_eval_shape(eqx.nn.Linear, in_size, out_size, use_bias=use_bias, key=key)
    drawn = initialiser(key, (out_size, in_size))
    where = lambda d: (d.weight, d.bias) if use_bias else (d.weight,)
    return eqx.tree_at(where, layer, drawn if use_bias else drawn[:1])


def sparse_dense(
    in_size: int,
    out_size: int,
    *,
    initialiser: AbstractInitialiser,
    density: float,
    key: PRNGKeyArray,
) -> eqx.nn.Linear | Sparse:
    """A dense layer of which the fraction `density` of the connections exists."""
    weight_key, mask_key = _keys(density, key)
    layer = dense(in_size, out_size, initialiser=initialiser, key=weight_key)
    return layer if mask_key is None else Sparse(layer, density, key=mask_key)


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: Literal["same", "valid"] = "same",
    initialiser: AbstractInitialiser,
    density: float = 1.0,
    key: PRNGKeyArray,
) -> Convolution | Sparse:
    """A convolution of which the fraction `density` of the connections exists."""
    weight_key, mask_key = _keys(density, key)
    layer = Convolution(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        initialiser=initialiser,
        key=weight_key,
    )
    return layer if mask_key is None else Sparse(layer, density, key=mask_key)


def activate(
    norm: eqx.nn.LayerNorm | None,
    activation: AbstractActivation,
    x: Float[Array, "units ..."],
    *,
    key: PRNGKeyArray | None,
) -> Float[Array, "activations ..."]:
    """Apply `norm`, if there is one, over the units at each position, then the activation."""

    def activated(x: Float[Array, "... units"]) -> Float[Array, "... activations"]:
        if norm is None:
            return call_with_key(activation, x, key=key)
        over = norm
        for _ in range(x.ndim - 1):
            over = jax.vmap(over)
        return call_with_key(activation, over(x), key=key)

    return channels_last(activated, x)


def max_pool(x: Float[Array, "channels height width"]) -> Float[Array, "channels rows columns"]:
    """The maximum of each block of 2 x 2 pixels. An odd last row or column is dropped.

    If several pixels of a block are the maximum, the gradient goes to the first, as in PyTorch.
    """
    return channels_last(_largest, x)


def _largest(x: Float[Array, "height width channels"]) -> Float[Array, "rows columns channels"]:
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    corners = [x[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    largest = corners[0]
    for corner in corners[1:]:
        # NaN is propagated.
        largest = jnp.where((corner > largest) | (corner != corner), corner, largest)
    return largest


def _keys(density: float, key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray | None]:
    """The key for the weights, and the key for the mask if there is one."""
    check_density(density)
    if density == 1:
        return key, None
    weight_key, mask_key = jax.random.split(key)
    return weight_key, mask_key
