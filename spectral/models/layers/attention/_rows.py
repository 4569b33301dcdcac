"""A dense layer for many tokens at once."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float


def for_rows(layer: Any, x: Float[Array, "tokens inputs"]) -> Float[Array, "tokens outputs"]:
    """The outputs of a layer for each row of `x`, as `jax.vmap(layer)(x)` returns them.

    A mapped layer is the product W x^T, whose columns are the tokens, and XLA transposes the
    activations of a whole minibatch afterwards. This is x W^T, whose rows are the tokens.
    """
    if type(layer) is not eqx.nn.Linear:  # another layer in its place, such as one that records
        return jax.vmap(layer)(x)
    outputs = x @ layer.weight.T
    return outputs if layer.bias is None else outputs + layer.bias[None]
