"""Self-normalised resets: a unit is renewed when it is silent for longer than is its habit."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import check_above, check_count
from ...._types import Learner, Signal
from ....models import UnitGroup
from ..._base._algorithm import AbstractTransform
from ..._base._unit_groups import renewed, replaceable_groups, tapped
from ..._base._when import when


class Silence(eqx.Module):
    """What is remembered of the units of one layer."""

    age: Int[Array, " units"]  # examples since the unit was last active
    firings: Int[Array, " units"]
    # Of these, how many ended a silence of at least so many examples (see `_edges`).
    longer: Int[Array, "units edges"]


_State = tuple[Silence, ...]


class SelfNormalizedReset(AbstractTransform[_State]):
    """Renew units whose silence is unlikely to be chance (Farias & Jozefiak, 2024).

    A unit fires on a minibatch when an activation is above zero on any example, at any position;
    its age is the number of examples since then. Each unit keeps the distribution of its own ages
    at firing. It is renewed when, of all its silences, a fraction of at most `rejection_level` was
    as long as the present one, or after `max_age` examples in any case. Until a unit has fired 1 /
    `rejection_level` times, the second rule is the only one. A renewed unit begins a new record.

    Ages are told apart to a quarter of an octave: 1 to 8, 10, 12, 14, 16, 20, ... A unit that is
    never at fault is still renewed once in 1 / `rejection_level` silences.
    """

    rejection_level: Float[Array, ""]
    max_age: int = eqx.field(static=True)

    def __init__(self, *, rejection_level: float | Float[Array, ""] = 1e-3, max_age: int = 20_000):
        """**Raises:** `ValueError` for a rejection_level that is not positive or a `max_age` below
        one."""
        check_above("rejection_level", rejection_level, 0)
        check_count("max_age", max_age)
        self.rejection_level = jnp.asarray(rejection_level, dtype=float)
        self.max_age = max_age

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _State:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of them has
        outgoing weights."""
        edges = _edges(self.max_age).size
        zeros = lambda *shape: jnp.zeros(shape, int)
        return tuple(
            Silence(zeros(group.size), zeros(group.size), zeros(group.size, edges))
            for group in replaceable_groups(learner.model)
        )

    def update(
        self, learner: Learner, state: _State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _State]:
        chosen, records = [], []
        for group, record in zip(replaceable_groups(learner.model), state, strict=True):
            record = self._heard(record, group, signal)
            units = self._too_silent(record)
            chosen.append((group, units))
            records.append(
                Silence(
                    jnp.where(units, 0, record.age),
                    jnp.where(units, 0, record.firings),
                    jnp.where(units[:, None], 0, record.longer),
                )
            )
        some = jnp.stack([jnp.any(units) for _, units in chosen]).any()
        learner = when(some, lambda before: renewed(before, chosen, key=key), learner)
        return learner, tuple(records)

    def _heard(self, record: Silence, group: UnitGroup, signal: Signal) -> Silence:
        activations = tapped(group, signal.taps)
        fires = jnp.any(activations > 0, axis=(0, *range(2, activations.ndim)))
        reached = record.age[:, None] >= _edges(self.max_age)[None, :]
        return Silence(
            age=jnp.where(fires, 0, record.age + activations.shape[0]),
            firings=record.firings + fires,
            longer=record.longer + (reached & fires[:, None]),
        )

    def _too_silent(self, record: Silence) -> Bool[Array, " units"]:
        edges = _edges(self.max_age)
        # The last edge that the present age has reached; the counts fall from edge to edge.
        reached = record.age[:, None] >= edges[None, :]
        as_long = jnp.min(jnp.where(reached, record.longer, record.firings[:, None]), axis=1)
        enough = self.rejection_level * record.firings
        rare = (record.age > 0) & (enough >= 1) & (as_long <= enough)
        return rare | (record.age >= self.max_age)


def _edges(max_age: int) -> np.ndarray:
    octaves = [(4 + i) * 2**k for k in range(max_age.bit_length()) for i in range(4)]
    edges = np.array([1, 2, 3, *octaves])
    return edges[edges <= max_age]
