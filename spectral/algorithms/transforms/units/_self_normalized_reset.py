"""Self-normalised resets: a unit is renewed if it is silent for unusually long."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count
from ...._base._quantity import Quantity
from ...._types import Learner, Signal
from ....models import UnitGroup
from ..._base._arguments import as_fraction, as_positive, Number
from ..._base._named import Names, optional_names
from ..._base._protocols import AbstractTransform
from ..._base._replaced import REPLACED, replaced_quantity
from ..._base._unit_groups import all_new, renewed, replaceable_groups, tapped
from ..._base._when import when


class Silence(eqx.Module):
    """The record of the units of one layer."""

    age: Int[Array, " units"]  # examples since the unit last fired
    silences: Int[Array, " units"]  # that a firing ended
    # How many of these silences were at least as long as each edge (see `_edges`).
    longer: Int[Array, "units edges"]
    replaced: Int[Array, ""]  # units, since the run began


_State = tuple[Silence, ...]


class SelfNormalizedReset(AbstractTransform[_State]):
    """Renews units whose silence is unlikely to be chance (Farias & Jozefiak, 2024).

    A unit fires on a minibatch if its activation is above zero on any example, at any position. Its
    age is the number of examples since then. A silence is a positive age that a firing ends; as in
    the authors' code, two firings in succession have no silence between them. A unit is renewed if
    at most a fraction `rejection_level` of all its silences lasted as long as the present one, or
    in any case after `max_age` examples. Only the second rule applies until a unit has ended
    1 / `rejection_level` silences. A renewed unit starts a new record.

    Silence is defined for ReLUs. A GELU is above zero where a ReLU is, so it has the same silences.
    The sign of a gated unit, of CReLU or of the channels of an attention head says nothing: one
    token of a minibatch suffices to be above zero, and these units are hardly ever renewed. Leave
    such layers out with `layers`; `ReDo` and `ReGraMa` can judge them.

    Ages are resolved to a quarter of an octave: 1 to 8, 10, 12, 14, 16, 20, ... A unit whose firing
    does not change is still renewed once in 1 / `rejection_level` silences.
    """

    rejection_level: Float[Array, ""]
    max_age: int = eqx.field(static=True, converter=as_int)
    layers: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        *,
        rejection_level: Number = 1e-3,
        max_age: int = 20_000,
        layers: Names | None = None,
    ):
        """**Arguments:**

        - `layers`: the names of the layers whose units may be renewed, as in the taps, such as
          `"block_*_mlp"`; `*` stands for any text. By default all whose units are replaceable.

        **Raises:** `ValueError` for a `rejection_level` that is not above 0 and at most 1, or a
        `max_age` below one."""
        as_positive("rejection_level", rejection_level)
        self.rejection_level = as_fraction("rejection_level", rejection_level)
        check_count("max_age", max_age)
        self.max_age = max_age
        self.layers = optional_names("layers", layers)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _State:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of its units
        has outgoing weights, or for a name in `layers` that fits none of these layers."""
        edges = _edges(self.max_age).size
        zeros = lambda *shape: jnp.zeros(shape, int)
        return tuple(
            Silence(zeros(group.size), zeros(group.size), zeros(group.size, edges), zeros())
            for group in replaceable_groups(learner.model, self.layers)
        )

    def update(
        self, learner: Learner, state: _State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _State]:
        chosen, records = [], []
        for group, record in zip(
            replaceable_groups(learner.model, self.layers), state, strict=True
        ):
            record = self._observed(record, group, signal)
            units = self._too_silent(record)
            chosen.append((group, units))
            records.append(
                Silence(
                    jnp.where(units, 0, record.age),
                    jnp.where(units, 0, record.silences),
                    jnp.where(units[:, None], 0, record.longer),
                    record.replaced + jnp.sum(units),
                )
            )
        some = jnp.stack([jnp.any(units) for _, units in chosen]).any()
        learner = when(some, lambda before: renewed(before, chosen, key=key), learner)
        return learner, tuple(records)

    def after_reset(
        self, learner: Learner, state: _State, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> _State:
        """Returns new records for new layers, which keep the number of replaced units."""
        groups = replaceable_groups(learner.model, self.layers)
        return tuple(
            replace(record, replaced=old.replaced) if all_new(group, reset) else old
            for group, record, old in zip(groups, self.init(learner, key=key), state, strict=True)
        )

    def measure(self, state: _State) -> dict[str, Array]:
        silences = jnp.concatenate([record.age for record in state])
        return {
            REPLACED: sum((record.replaced for record in state), jnp.zeros((), int)),
            "mean_silence": jnp.mean(silences, dtype=float),
        }

    def quantities(self) -> dict[str, Quantity]:
        silence = Quantity("mean silence of units", unit="examples", figure="replacement")
        return replaced_quantity() | {"mean_silence": silence}

    def _observed(self, record: Silence, group: UnitGroup, signal: Signal) -> Silence:
        """The record after this minibatch."""
        activations = tapped(group, signal.taps)
        fires = jnp.any(activations > 0, axis=(0, *range(2, activations.ndim)))
        return Silence(
            age=jnp.where(fires, 0, record.age + activations.shape[0]),
            silences=record.silences + (fires & (record.age > 0)),
            longer=record.longer + (self._reached(record) & fires[:, None]),
            replaced=record.replaced,
        )

    def _too_silent(self, record: Silence) -> Bool[Array, " units"]:
        # The smallest count is that of the last edge reached, because counts fall with the edges.
        reached = jnp.where(self._reached(record), record.longer, record.silences[:, None])
        as_long = jnp.min(reached, axis=1)
        enough = self.rejection_level * record.silences
        rare = (record.age > 0) & (enough >= 1) & (as_long <= enough)
        return rare | (record.age >= self.max_age)

    def _reached(self, record: Silence) -> Bool[Array, "units edges"]:
        """Which edges the present silence has reached."""
        return record.age[:, None] >= _edges(self.max_age)[None, :]


def _edges(max_age: int) -> np.ndarray:
    """The ages that are told apart: 1, 2, 3, and from 4 on four in each octave."""
    octaves = [(4 + i) * 2**k for k in range(max_age.bit_length()) for i in range(4)]
    edges = np.array([1, 2, 3, *octaves])
    return edges[edges <= max_age]
