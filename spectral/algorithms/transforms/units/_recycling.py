"""Renewal of the units that do too little compared with the rest of their layer."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count
from ...._base._quantity import Quantity
from ...._types import Learner, Signal
from ....models import forget_units, UnitGroup
from ..._base._arguments import as_non_negative, check_name, Number
from ..._base._fresh import fresh_parameters
from ..._base._named import Names, optional_names
from ..._base._protocols import AbstractTransform
from ..._base._replaced import count_replaced, REPLACED, replaced_quantity
from ..._base._unit_groups import renewed, replaceable_groups
from ..._base._when import when


Outgoing = Literal["zero", "fresh"]
Chosen = Sequence[tuple[UnitGroup, Bool[Array, " _"]]]


class AbstractRecycling(AbstractTransform[Int[Array, ""]]):
    """Renews the units that `inactive` marks, from the last `window` minibatches.

    They get newly drawn incoming weights and a bias of zero, and the optimiser forgets them. By
    default their outgoing weights become zero, so the network's function loses no more than these
    units contributed. With `outgoing="fresh"` they become those of a newly initialised network, so
    that the units contribute and receive gradients from the first step.

    The state counts the renewed units.
    """

    threshold: Float[Array, ""]
    window: int = eqx.field(static=True, converter=as_int)
    outgoing: Outgoing = eqx.field(static=True)
    layers: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(self, threshold: Number, window: int, outgoing: Outgoing, layers: Names | None):
        """**Raises:** `ValueError` for a negative threshold, a window below one or an unknown
        name."""
        self.threshold = as_non_negative("threshold", threshold)
        check_count("window", window)
        check_name("outgoing", outgoing, ("zero", "fresh"))
        self.window, self.outgoing = window, outgoing
        self.layers = optional_names("layers", layers)

    @abstractmethod
    def inactive(self, learner: Learner, signal: Signal, *, key: PRNGKeyArray) -> Chosen:
        """Marks the units to renew, for every chosen group."""

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of its units
        has outgoing weights, or for a name in `layers` that fits none of these layers."""
        replaceable_groups(learner.model, self.layers)
        return jnp.zeros((), int)

    def update(
        self, learner: Learner, state: Int[Array, ""], signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, Int[Array, ""]]:
        """**Raises:** `ValueError` for a window that does not divide the chunk."""
        forward_key, draw_key, outgoing_key = jax.random.split(key, 3)
        chosen = self.inactive(learner, signal, key=forward_key)
        learner = renewed(learner, chosen, key=draw_key)
        state = state + count_replaced(chosen)
        if self.outgoing == "zero":
            return learner, state
        some = jnp.stack([jnp.any(units) for _, units in chosen]).any()
        with_outgoing = lambda learner: _with_fresh_outgoing(learner, chosen, key=outgoing_key)
        return when(some, with_outgoing, learner), state

    def after_reset(
        self,
        learner: Learner,
        state: Int[Array, ""],
        reset: PyTree[bool],
        *,
        key: PRNGKeyArray,
    ) -> Int[Array, ""]:
        return state  # a count over the run

    def measure(self, state: Int[Array, ""]) -> dict[str, Array]:
        return {REPLACED: state}

    def quantities(self) -> dict[str, Quantity]:
        return replaced_quantity()


def _with_fresh_outgoing(learner: Learner, chosen: Chosen, *, key: PRNGKeyArray) -> Learner:
    """Gives the marked units the outgoing weights of a newly initialised network."""
    model, optimiser = learner.model, learner.optimiser
    fresh = fresh_parameters(model, key=key)
    for group, units in chosen:
        for entries in group.outgoing:
            drawn = entries.where(fresh)
            new = jnp.where(entries.mark(model, units), drawn, entries.where(model))
            model = eqx.tree_at(entries.where, model, new)
    for group, units in chosen:
        optimiser = forget_units(optimiser, model, group, units)
    return replace(learner, model=model, optimiser=optimiser)
