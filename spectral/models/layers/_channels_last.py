"""Channels-last images, for operations that XLA computes well only in that order."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float


def channels_last(
    function: Callable[..., Array], *arrays: Float[Array, "channels ..."]
) -> Float[Array, "outputs ..."]:
    """Apply `function` to the arrays with their first axis moved last, and move the last axis of
    its result back to the front.

    Between two such calls XLA cancels the transpositions. Sums over positions keep an order that is
    fast on CPU: with the channels first, between convolutions, they took twenty times as long.
    """
    return jnp.moveaxis(function(*(jnp.moveaxis(x, 0, -1) for x in arrays)), -1, 0)
