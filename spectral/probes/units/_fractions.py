"""Fractions of units with a property."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._base._quantity import Quantity


def fractions(marked: list[Bool[Array, " _"] | None]) -> dict[str, Array]:
    """Returns the fraction of marked units among all units, and in each layer.

    `None` stands for a layer that has no answer: NaN, and no part of all units.
    """
    known = [layer for layer in marked if layer is not None]
    nan = jnp.asarray(jnp.nan, float)
    return {
        "fraction": jnp.mean(jnp.concatenate(known), dtype=float) if known else nan,
        "by_layer": jnp.stack(
            [nan if layer is None else jnp.mean(layer, dtype=float) for layer in marked]
        ),
    }


def fraction_quantities(label: str, *, compared: bool = False) -> dict[str, Quantity]:
    """What `fractions` returns is; `label` names the units."""
    fraction = Quantity(
        label,
        unit="fraction",
        limits=(0.0, 1.0),
        better="lower",
        compared=compared,
        figure="units",
    )
    return {"fraction": fraction}
