"""Layers that multiply a weight matrix with rows made of their inputs."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ....models import BatchNorm, Convolution, Sparse
from ._call import Call


_CONVOLUTIONS = eqx.nn.Conv, eqx.nn.Conv1d, eqx.nn.Conv2d, eqx.nn.Conv3d


def is_layer(node: Any) -> bool:
    """Whether a node of a network is such a layer. Subclasses may compute something else."""
    return type(node) in (eqx.nn.Linear, eqx.nn.Embedding, Convolution, *_CONVOLUTIONS)


def is_embedding(node: Any) -> bool:
    """Whether a layer looks up the rows of its weight."""
    return type(node) is eqx.nn.Embedding


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
    if is_embedding(layer):
        return
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
    layer: Any, call: Call, inputs: Float[Array, "examples ..."]
) -> Float[Array, "examples positions columns"]:
    """The vectors that [weight, bias] is multiplied with at each position of the output.

    A vector is the input, or a patch of it in the order of the weights; if there is a bias, a 1
    follows.
    """
    num_examples = inputs.shape[0]
    if is_embedding(layer):
        return inputs.reshape(num_examples, -1, inputs.shape[-1])
    # The positions of the `vmap`s around the call count as examples.
    each = inputs.reshape(-1, *call.inputs.shape)
    if type(layer) in _CONVOLUTIONS:
        patches = jax.lax.conv_general_dilated_patches(
            each,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            rhs_dilation=layer.dilation,
            precision=jax.lax.Precision.HIGHEST,
        )
        rows = patches.reshape(each.shape[0], patches.shape[1], -1).swapaxes(1, 2)
    elif type(layer) is Convolution:
        rows = jax.vmap(layer.patches)(each)
    else:
        rows = each.reshape(each.shape[0], 1, -1)
    rows = rows.reshape(num_examples, -1, rows.shape[-1])
    if layer.bias is None:
        return rows
    return jnp.concatenate([rows, jnp.ones_like(rows[..., :1])], axis=-1)


def gradient_rows(
    layer: Any, call: Call, gradients: Float[Array, "columns examples ..."]
) -> Float[Array, "columns examples positions rows"]:
    """The gradients in the outputs of a layer, with one row for each position."""
    num_columns, num_examples = gradients.shape[:2]
    if is_embedding(layer):
        return gradients.reshape(num_columns, num_examples, -1, gradients.shape[-1])
    size = layer.weight.shape[0]
    outer = math.prod(call.sizes)
    rows = gradients.reshape(num_columns, num_examples, outer, size, -1).swapaxes(3, 4)
    return rows.reshape(num_columns, num_examples, -1, size)
