"""The outputs of a network, checked against the shape that a stream needs."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..._types import Aux
from ...models import apply_network


def network_outputs(
    model: Any,
    model_state: eqx.nn.State | None,
    inputs: Float[Array, "examples ..."] | Int[Array, "examples positions"],
    shape: tuple[int, ...],
    needed: str,
    *,
    inference: bool,
    key: PRNGKeyArray | None,
) -> tuple[Float[Array, "examples ..."], Aux]:
    """Apply a network to a batch, as `spectral.models.apply_network` does.

    **Raises:** `ValueError` if the outputs are not an array of this shape for each example. The
    message ends with `needed`: the outputs that are needed, and how to get them.
    """
    outputs, aux = apply_network(model, model_state, inputs, inference=inference, key=key)
    _check_outputs(model, outputs, shape, needed)
    return outputs, aux


def _check_outputs(part: Any, outputs: Any, shape: tuple[int, ...], needed: str) -> None:
    """The network `part` is not read: it tells where an error belongs."""
    if not eqx.is_array(outputs) or outputs.shape[1:] != shape:
        what = f"shape {outputs.shape[1:]}" if eqx.is_array(outputs) else type(outputs).__name__
        raise ValueError(f"`model` gives outputs of {what} for one example, but {needed}")
