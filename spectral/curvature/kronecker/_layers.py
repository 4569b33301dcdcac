"""Layers that multiply a weight matrix with rows made of their inputs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...models import BatchNorm, Convolution, Sparse


_CONVOLUTIONS = eqx.nn.Conv, eqx.nn.Conv1d, eqx.nn.Conv2d, eqx.nn.Conv3d


def is_layer(node: Any) -> bool:
    """Whether a node of a network is such a layer. Subclasses may compute something else."""
    return type(node) in (eqx.nn.Linear, Convolution, *_CONVOLUTIONS)


def is_masked(node: Any) -> bool:
    """Whether a node of a network calls a layer with weights other than those it holds."""
    return isinstance(node, Sparse)


def layer_name(path: Any) -> str:
    """The path to a layer, such as `layers.0`."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "itself"


def is_norm(node: Any) -> bool:
    """Whether a node of a network normalises, with a scale and a shift as its parameters."""
    norms = BatchNorm, eqx.nn.BatchNorm, eqx.nn.GroupNorm, eqx.nn.LayerNorm, eqx.nn.RMSNorm
    return isinstance(node, norms)


def weight_axes(layer: Any) -> int:
    """The number of axes of the weight of a layer. A weight with more is a stack of layers."""
    if type(layer) in _CONVOLUTIONS:
        return layer.num_spatial_dims + 2
    return 4 if type(layer) is Convolution else 2


def check_layer(name: str, layer: Any) -> None:
    """Checks that a layer is complete and has Kronecker factors.

    **Raises:** `ValueError` naming the layer.
    """
    if (layer.weight is None) or (layer.use_bias and layer.bias is None):
        missing = "weight" if layer.weight is None else "bias"
        raise ValueError(
            f"`params` has the layer {name} without its {missing}, but a block of curvature "
            "belongs to a whole layer: pass both as parameters or hold both constant."
        )
    if type(layer) in _CONVOLUTIONS and (layer.groups != 1 or layer.padding_mode != "ZEROS"):
        got = f"{layer.groups} groups and padding mode {layer.padding_mode!r}"
        raise ValueError(
            f"`params` has the convolution {name} with {got}, but Kronecker factors are known for "
            "1 group and 'ZEROS': hold it constant with `eqx.partition`, and combine the network "
            "again inside `forward`."
        )


def input_rows(
    layer: Any, inputs: Float[Array, "examples ..."]
) -> Float[Array, "examples positions columns"]:
    """The vectors that [weight, bias] is multiplied with at each position of the output.

    A vector is the input, or a patch of it in the order of the weights; if there is a bias, a 1
    follows.
    """
    num_examples = inputs.shape[0]
    if type(layer) in _CONVOLUTIONS:
        patches = jax.lax.conv_general_dilated_patches(
            inputs,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            rhs_dilation=layer.dilation,
            precision=jax.lax.Precision.HIGHEST,
        )
        rows = patches.reshape(num_examples, patches.shape[1], -1).swapaxes(1, 2)
    elif type(layer) is Convolution:
        rows = jax.vmap(layer.patches)(inputs)
    else:
        rows = inputs.reshape(num_examples, 1, -1)
    if layer.bias is None:
        return rows
    return jnp.concatenate([rows, jnp.ones_like(rows[..., :1])], axis=-1)


def gradient_rows(
    layer: Any, gradients: Float[Array, "columns examples ..."]
) -> Float[Array, "columns examples positions rows"]:
    """The gradients in the outputs of a layer, with one row for each position."""
    num_columns, num_examples = gradients.shape[:2]
    return gradients.reshape(num_columns, num_examples, layer.weight.shape[0], -1).swapaxes(2, 3)
