"""Apply a network to a batch."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Aux


def apply_network(
    model: Any,
    model_state: eqx.nn.State | None,
    inputs: PyTree[Float[Array, "examples ..."]],
    *,
    inference: bool,
) -> tuple[PyTree[Float[Array, "examples ..."]], Aux]:
    """Returns the outputs and activations of a network for a batch of inputs.

    **Arguments:**

    - `model`: any callable Module that takes one example and returns `(outputs, taps)`, see
      `AbstractNetwork`.
    - `model_state`: running statistics, or `None` for a network without any.
    - `inference`: use the running statistics instead of updating them.

    **Raises:** `ValueError` if the network has running statistics and `model_state` is `None`,
    `TypeError` if the network cannot be called or does not return a pair of outputs and taps.
    """
    if model_state is None and any(map(_is_index, jax.tree.leaves(model, is_leaf=_is_index))):
        raise ValueError(
            f"This {type(model).__name__} keeps running statistics, but `model_state` is None: "
            "pass the state that `eqx.nn.make_with_state` made with it."
        )
    if not callable(model):
        raise TypeError(
            f"`model` is of type {type(model).__name__}, but must be a network that can be called "
            "with one example: pass a Module such as `models.MLP(...)`."
        )
    if model_state is not None:
        model = eqx.nn.inference_mode(model, inference)
        result, model_state = jax.vmap(
            model, axis_name="batch", in_axes=(0, None), out_axes=(0, None)
        )(inputs, model_state)
    elif jax.tree.leaves(inputs)[0].shape[0] == 1:
        # A single example without a batch axis: on CPU the product W @ x is three to five times
        # faster than the same product written for a batch of one.
        result = model(jax.tree.map(lambda x: x[0], inputs))
        result = jax.tree.map(lambda x: jnp.asarray(x)[None], result)
    else:
        result = jax.vmap(model)(inputs)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise TypeError(
            f"`model` must return `(outputs, taps)` for one example, with `taps` a dictionary from "
            f"layer names to activations, but returned {jax.tree.structure(result)}: return "
            "`outputs, {}` if there are no activations to show."
        )
    outputs, taps = result
    return outputs, Aux(taps, model_state)


def _is_index(node: Any) -> bool:
    return isinstance(node, eqx.nn.StateIndex)
