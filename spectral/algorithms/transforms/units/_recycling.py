"""Units that do too little beside the others of their layer are recycled."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...._arguments import check_above, check_count, unknown_name
from ...._types import Learner, Signal
from ....models import forget_units, UnitGroup
from ..._base._algorithm import AbstractTransform
from ..._base._fresh import fresh_parameters
from ..._base._unit_groups import renewed, replaceable_groups
from ..._base._when import when


_OUTGOING = ("zero", "fresh")
Chosen = Sequence[tuple[UnitGroup, Bool[Array, " _"]]]


class AbstractRecycling(AbstractTransform[None]):
    """Renew the units that `inactive` names, on the last `window` minibatches.

    They get newly drawn incoming weights, a bias of zero, and the optimiser forgets them. Their
    outgoing weights become zero, so that the network's function loses no more than they
    contributed; or, with `outgoing="fresh"`, those of a newly initialised network, with which they
    are heard, and learn, from the first step.
    """

    threshold: Float[Array, ""]
    window: int = eqx.field(static=True)
    outgoing: str = eqx.field(static=True)

    def __init__(
        self,
        threshold: float | Float[Array, ""],
        *,
        window: int = 1,
        outgoing: Literal["zero", "fresh"] = "zero",
    ):
        """**Raises:** `ValueError` for a negative threshold, a window below one or an unknown
        name."""
        check_above("threshold", threshold, 0, strict=False)
        check_count("window", window)
        if outgoing not in _OUTGOING:
            raise ValueError(f"`outgoing`: {unknown_name('Name', outgoing, _OUTGOING)}")
        self.threshold = jnp.asarray(threshold, dtype=float)
        self.window, self.outgoing = window, outgoing

    @abstractmethod
    def inactive(self, learner: Learner, signal: Signal, *, key: PRNGKeyArray) -> Chosen:
        """The units to renew, of every group that can be."""

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of them has
        outgoing weights."""
        replaceable_groups(learner.model)

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a window that does not divide the chunk."""
        forward_key, draw_key, outgoing_key = jax.random.split(key, 3)
        chosen = self.inactive(learner, signal, key=forward_key)
        learner = renewed(learner, chosen, key=draw_key)
        if self.outgoing == "zero":
            return learner, state
        some = jnp.stack([jnp.any(units) for _, units in chosen]).any()
        return when(some, lambda before: _heard(before, chosen, key=outgoing_key), learner), state


def _heard(learner: Learner, chosen: Chosen, *, key: PRNGKeyArray) -> Learner:
    """The learner with the outgoing weights of a new network for the marked units."""
    model, optimiser = learner.model, learner.optimiser
    fresh = fresh_parameters(model, key=key)
    for group, units in chosen:
        for entries in group.outgoing:
            drawn = entries.where(fresh)
            new = jnp.where(entries.mark(model, units), drawn, entries.where(model))
            model = eqx.tree_at(entries.where, model, new)
    for group, units in chosen:
        optimiser = forget_units(optimiser, model, group, units)
    return Learner(model, learner.model_state, optimiser)
