"""The record of the units that a transform has replaced."""

from collections.abc import Iterable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ..._base._quantity import Quantity


REPLACED = "units_replaced"


def count_replaced(chosen: Iterable[tuple[object, Bool[Array, " _"]]]) -> Int[Array, ""]:
    """The number of marked units, over all groups."""
    return sum((jnp.sum(units) for _, units in chosen), jnp.zeros((), int))


def replaced_quantity() -> dict[str, Quantity]:
    """What the column `units_replaced` is."""
    label = "units replaced since the run began"
    return {REPLACED: Quantity(label, limits=(0.0, None), figure="replacement")}
