"""Fractions of units with a property."""

import jax.numpy as jnp
from jaxtyping import Array, Bool


def fractions(marked: list[Bool[Array, " _"]]) -> dict[str, Array]:
    """Returns the fraction of marked units among all units, and in each layer."""
    return {
        "fraction": jnp.mean(jnp.concatenate(marked), dtype=float),
        "by_layer": jnp.stack([jnp.mean(layer, dtype=float) for layer in marked]),
    }
