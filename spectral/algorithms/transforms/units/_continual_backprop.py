"""Continual backpropagation: continually replaces the least useful mature units."""

import math
from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count
from ...._base._quantity import Quantity
from ...._types import Learner, Signal
from ....models import absorb_mean, UnitGroup
from ..._base._arguments import as_fraction, Number
from ..._base._named import Names, optional_names
from ..._base._protocols import AbstractTransform
from ..._base._replaced import REPLACED, replaced_quantity
from ..._base._unit_groups import (
    all_new,
    incoming_and_outgoing,
    outgoing_by_position,
    renewed,
    replaceable_groups,
    seen_by_next,
)
from ..._base._when import when
from ._unit_facts import unit_facts
from ._utilities import adaptable_contribution, random_utility, UnitFacts


# The count of unit-steps is folded into the remainder at this size, before it can overflow.
_MOST_PENDING = 2**20


class UnitRecord(eqx.Module):
    """The record of the units of one layer."""

    age: Int[Array, " units"]  # steps since the unit was drawn
    mean: Float[Array, "units copies"]  # running mean of the activations
    utility: Float[Array, " units"]  # running mean of the utility
    # Replacements owed are remainder + rate * pending. A float that grew by rate * eligible at
    # every step would stop growing once the increment falls below its rounding.
    pending: Int[Array, ""]  # eligible units, summed over steps
    remainder: Float[Array, ""]
    replaced: Int[Array, ""]  # units, since the run began


_State = tuple[UnitRecord, ...]


class ContinualBackprop(AbstractTransform[_State]):
    """Generate and test (Dohare et al., *Loss of plasticity in deep continual learning*, 2024).

    After each step and in each hidden layer, let h be the activations before the step as the next
    layer sees them, that is after pooling. eta is the `decay`, and a the age of a unit, which
    includes this step:

        f <- eta f + (1 - eta) mean h         f^ = f / (1 - eta^a)
        u <- eta u + (1 - eta) utility        u^ = u / (1 - eta^a)

    Units with a > `maturity` are eligible. Every step adds `replacement_rate` times the number of
    eligible units to the number of replacements owed. When it reaches one, the eligible unit of
    *lowest* u^ is replaced. With `compensate`, its mean contribution W_out f^ is first added to the
    biases of the next layer. Its incoming weights are then drawn from the network's initial
    distribution, its bias and outgoing weights become zero, and its age, f and u start from zero.
    The optimiser forgets these entries, exactly if it can (see `spectral.Optimiser.forget`).

    A unit is a neuron, a channel of a convolution or an attention head; means run over positions
    and tokens, and over the channels of a head, too.
    Where a dense layer follows, the contribution of a channel is the mean over its positions of
    |W_out| times |h| or |h - f^|, as in the authors' code.
    Units that have no outgoing weights of their own (the channels of a residual stream) are never
    replaced.
    """

    replacement_rate: Float[Array, ""]
    decay: Float[Array, ""]
    maturity: int = eqx.field(static=True, converter=as_int)
    utility: Callable[[UnitFacts], Float[Array, " units"]] = eqx.field(static=True)
    compensate: bool = eqx.field(static=True)
    layers: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(
        self,
        replacement_rate: Number,
        *,
        decay: Number = 0.99,
        maturity: int = 100,
        utility: Callable[[UnitFacts], Float[Array, " units"]] = adaptable_contribution,
        compensate: bool = True,
        layers: Names | None = None,
    ):
        """**Arguments:**

        - `replacement_rate`: replacements per eligible unit and step.
        - `decay`: of the running means.
        - `maturity`: the number of steps for which a new unit is protected.
        - `utility`: `adaptable_contribution`, `contribution`, `zero_contribution`, `adaptation`,
          `outgoing_weight`, `feature_by_input`, `random_utility` (its present draw takes the place
          of u^), or your own function.
        - `compensate`: add the mean contribution of a replaced unit to the next layer's biases, as
          published. The authors' public code leaves it out.
        - `layers`: the names of the layers whose units may be replaced, as in the taps, such as
          `"block_*_mlp"`; `*` stands for any text. By default all whose units are replaceable.

        **Raises:** `ValueError` for a replacement rate outside [0, 1], a decay outside [0, 1), or a
        maturity below one.
        """
        self.replacement_rate = as_fraction("replacement_rate", replacement_rate)
        self.decay = as_fraction("decay", decay, below_one=True)
        check_count("maturity", maturity)
        self.maturity, self.utility, self.compensate = maturity, utility, compensate
        self.layers = optional_names("layers", layers)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _State:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of its units
        has outgoing weights, or for a name in `layers` that fits none of these layers."""
        return tuple(_new_record(group) for group in replaceable_groups(learner.model, self.layers))

    def update(
        self, learner: Learner, state: _State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _State]:
        groups = replaceable_groups(learner.model, self.layers)
        utility_key, draw_key = jax.random.split(key)
        weights = incoming_and_outgoing(groups, learner.model)
        records, due = [], []
        for i, (group, record) in enumerate(zip(groups, state, strict=True)):
            own_key, seen = jax.random.fold_in(utility_key, i), seen_by_next(group, signal.taps)
            positions = math.prod(seen.shape[3:])
            by_position = outgoing_by_position(group, learner.model, positions)
            record = self._observed(record, seen, *weights[i], by_position, key=own_key)
            record, own_due = self._accrued(record)
            records.append(record)
            due.append(own_due)

        def replace_units(value: tuple[Learner, _State]) -> tuple[Learner, _State]:
            learner, records = value
            chosen = [
                (group, self._lowest(record, own_due))
                for group, record, own_due in zip(groups, records, due, strict=True)
            ]
            if self.compensate:
                model = learner.model
                for (group, units), record in zip(chosen, records, strict=True):
                    means = group.as_in_taps(record.mean / self._correction(record)[:, None])
                    model = absorb_mean(model, group, units, means)
                learner = replace(learner, model=model)
            learner = renewed(learner, chosen, key=draw_key)
            pairs = zip(records, chosen, strict=True)
            return learner, tuple(_started_again(record, units) for record, (_, units) in pairs)

        return when(jnp.stack(due).any(), replace_units, (learner, tuple(records)))

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
        ages = jnp.concatenate([record.age for record in state])
        return {
            REPLACED: sum((r.replaced for r in state), jnp.zeros((), int)),
            "mean_age": jnp.mean(ages, dtype=float),
        }

    def quantities(self) -> dict[str, Quantity]:
        age = Quantity("mean age of units", unit="steps", limits=(0.0, None), figure="replacement")
        return replaced_quantity() | {"mean_age": age}

    def _observed(
        self,
        record: UnitRecord,
        activations: Float[Array, "examples units copies *positions"],
        incoming: Float[Array, " units"],
        outgoing: Float[Array, " units"],
        by_position: Float[Array, "units positions"] | None,
        *,
        key: PRNGKeyArray,
    ) -> UnitRecord:
        """The record one step later, with the running means after this step."""
        others = (0, *range(3, activations.ndim))
        mean = self.decay * record.mean + (1 - self.decay) * jnp.mean(activations, axis=others)
        record = replace(record, age=record.age + 1, mean=mean)
        centre = mean / self._correction(record)[:, None]
        facts = unit_facts(activations, centre, incoming, outgoing, by_position, key=key)
        utility = self.utility(facts)
        if self.utility is random_utility:
            utility = utility * self._correction(record)  # so that u^ is the present draw
        else:
            utility = self.decay * record.utility + (1 - self.decay) * utility
        return replace(record, utility=utility)

    def _accrued(self, record: UnitRecord) -> tuple[UnitRecord, Int[Array, ""]]:
        """Adds this step's replacements to those owed; also returns how many units are due now."""
        eligible = jnp.sum(record.age > self.maturity)
        pending = record.pending + eligible
        total = record.remainder + self.replacement_rate * pending
        due = jnp.minimum(jnp.floor(total).astype(int), eligible)
        fold = (due > 0) | (pending >= _MOST_PENDING)
        remainder = jnp.where(fold, total - due, record.remainder)
        return replace(record, pending=jnp.where(fold, 0, pending), remainder=remainder), due

    def _lowest(self, record: UnitRecord, due: Int[Array, ""]) -> Bool[Array, " units"]:
        """Marks the `due` eligible units of lowest utility."""
        eligible = record.age > self.maturity
        utility = jnp.where(eligible, record.utility / self._correction(record), jnp.inf)
        first = jnp.arange(utility.size) < due
        return jnp.zeros_like(eligible).at[jnp.argsort(utility)].set(first) & eligible

    def _correction(self, record: UnitRecord) -> Float[Array, " units"]:
        """1 - eta^a, the total weight of a running mean that started from zero."""
        return 1 - self.decay**record.age


def _new_record(group: UnitGroup) -> UnitRecord:
    return UnitRecord(
        age=jnp.zeros(group.size, int),
        mean=jnp.zeros((group.size, group.per_unit)),
        utility=jnp.zeros(group.size),
        pending=jnp.zeros((), int),
        remainder=jnp.zeros(()),
        replaced=jnp.zeros((), int),
    )


def _started_again(record: UnitRecord, units: Bool[Array, " units"]) -> UnitRecord:
    """The record with age, mean and utility of the marked units set to zero, and these counted."""
    return replace(
        record,
        age=jnp.where(units, 0, record.age),
        mean=jnp.where(units[:, None], 0, record.mean),
        utility=jnp.where(units, 0, record.utility),
        replaced=record.replaced + jnp.sum(units),
    )
