"""Averages over units, with the columns of all probes of units."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..._base._quantity import Better, Quantity
from .._base._cost import FORWARD
from .._base._sampler import Sampler
from .._base._unanswered import unanswered


def fractions(
    marked: Sequence[Bool[Array, " _"] | Float[Array, " _"] | None], *, column: str = "fraction"
) -> dict[str, Array]:
    """Returns the fraction of marked units among all units, under the name `column`, and in each
    layer; or the mean of a number of each unit.

    `None` stands for a layer that has no answer: NaN, and no part of all units.
    """
    known = [layer for layer in marked if layer is not None]
    nan = jnp.asarray(jnp.nan, float)
    return {
        column: jnp.mean(jnp.concatenate(known), dtype=float) if known else nan,
        "by_layer": jnp.stack(
            [nan if layer is None else jnp.mean(layer, dtype=float) for layer in marked]
        ),
    }


def marked_layers(
    probe: Any, sampler: Sampler, mark: Callable[[Array], Array], *, key: PRNGKeyArray
) -> list[Array | None]:
    """Returns what `mark` says of the units of each hidden layer. `None` stands for a layer whose
    units cannot be dead, and so are never inactive; the reason is logged."""
    undefined = sampler.never_dead()
    layers = sampler.units_by_layer(key=key)
    for reason in dict.fromkeys(undefined[name] for name in layers if name in undefined):
        unanswered(probe, reason, {})  # `fractions` has the NaN, because of the other layers
    return [None if name in undefined else mark(layer) for name, layer in layers.items()]


def known_fractions(
    probe: Any,
    marked: Sequence[Any],
    reason: str | None,
    *,
    column: str = "fraction",
) -> dict[str, Array]:
    """Returns the `fractions`, or NaN if there is a reason that the network cannot be measured or
    if it has no layers. `marked` has an entry for each layer, of which only the number counts if
    there is a reason."""
    if reason is None and not marked:
        reason = "the network returns no activations"
    if reason is None:
        return fractions(marked, column=column)
    return unanswered(probe, reason, {column: (), "by_layer": (max(1, len(marked)),)})


def fraction_quantities(
    label: str,
    *,
    better: Better | None = "lower",
    compared: bool = False,
    cost: float = FORWARD,
) -> dict[str, Quantity]:
    """What `fractions` returns is; `label` names the units. By default it costs a forward pass."""
    fraction = Quantity(
        label,
        unit="fraction",
        limits=(0.0, 1.0),
        better=better,
        compared=compared,
        figure="units",
        cost=cost,
    )
    return {"fraction": fraction}
