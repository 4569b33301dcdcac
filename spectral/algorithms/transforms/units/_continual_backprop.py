"""Continual backpropagation: the least useful mature units are replaced all the time."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import check_count, check_fraction
from ...._types import Learner, Signal
from ....models import absorb_mean, UnitGroup
from ..._base._algorithm import AbstractTransform
from ..._base._unit_groups import incoming_and_outgoing, renewed, replaceable_groups, tapped
from ..._base._when import when
from ._utilities import adaptable_contribution, UnitFacts


# Unit-steps after which the count of them is folded into the remainder, before it could overflow.
_MOST_PENDING = 2**20


class UnitRecord(eqx.Module):
    """What is remembered of the units of one layer."""

    age: Int[Array, " units"]  # steps since the unit was drawn
    mean: Float[Array, "units copies"]  # running mean of the activations
    utility: Float[Array, " units"]  # running mean of the utility
    # Replacements owed are remainder + rate * pending. A float that grew by rate * eligible at
    # every step would stand still once that falls below its rounding.
    pending: Int[Array, ""]  # eligible units, summed over steps
    remainder: Float[Array, ""]


_State = tuple[UnitRecord, ...]


class ContinualBackprop(AbstractTransform[_State]):
    """Generate and test (Dohare et al., *Loss of plasticity in deep continual learning*, 2024).

    After each step, in each hidden layer, with h the activations before the step, eta the `decay`
    and a the age of a unit, which counts this step:

        f <- eta f + (1 - eta) mean h         f^ = f / (1 - eta^a)
        u <- eta u + (1 - eta) utility        u^ = u / (1 - eta^a)

    Units are eligible when a > `maturity`. `replacement_rate` times the number of eligible units is
    owed at every step and added up; when a whole unit is owed, the eligible unit of the *lowest* u^
    is replaced: its incoming weights are drawn as the network's initialisation draws them, its bias
    and outgoing weights become zero, its age, f and u begin again, and so does what the optimiser
    keeps for these entries, exactly where it can (see `spectral.Optimiser.forget`). With
    `compensate`, its mean contribution W_out f^ is first added to the next layer's biases.

    A unit may be a neuron or the channel of a convolution, whose means run over positions too.
    Units without outgoing weights of their own (the channels of a residual stream) are left alone.
    """

    replacement_rate: Float[Array, ""]
    decay: Float[Array, ""]
    maturity: int = eqx.field(static=True)
    utility: Callable[[UnitFacts], Float[Array, " units"]] = eqx.field(static=True)
    compensate: bool = eqx.field(static=True)

    def __init__(
        self,
        replacement_rate: float | Float[Array, ""],
        *,
        decay: float | Float[Array, ""] = 0.99,
        maturity: int = 100,
        utility: Callable[[UnitFacts], Float[Array, " units"]] = adaptable_contribution,
        compensate: bool = True,
    ):
        """**Arguments:**

        - `replacement_rate`: replacements per eligible unit and step.
        - `decay`: of the running means.
        - `maturity`: steps for which a new unit is protected.
        - `utility`: `adaptable_contribution`, `contribution`, `zero_contribution`, `adaptation`,
          `outgoing_weight`, `feature_by_input`, `random_utility`, or a function of your own.
        - `compensate`: add the mean contribution of a replaced unit to the next layer's biases, as
          published. The public code of the authors leaves it out.

        **Raises:** `ValueError` for a rate outside [0, 1], a decay outside [0, 1), or a maturity
        below one.
        """
        check_fraction("replacement_rate", replacement_rate)
        check_fraction("decay", decay, strict=True)
        check_count("maturity", maturity)
        self.replacement_rate = jnp.asarray(replacement_rate, dtype=float)
        self.decay = jnp.asarray(decay, dtype=float)
        self.maturity, self.utility, self.compensate = maturity, utility, compensate

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> _State:
        """**Raises:** `TypeError` for a model without `units()`, `ValueError` if none of them has
        outgoing weights."""
        return tuple(_newborn(group) for group in replaceable_groups(learner.model))

    def update(
        self, learner: Learner, state: _State, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, _State]:
        groups = replaceable_groups(learner.model)
        utility_key, draw_key = jax.random.split(key)
        weights = incoming_and_outgoing(groups, learner.model)
        records, owed = [], []
        for i, (group, record) in enumerate(zip(groups, state, strict=True)):
            own = jax.random.fold_in(utility_key, i)
            activations = tapped(group, signal.taps)
            record = self._observed(record, activations, *weights[i], key=own)
            record, due = self._charged(record)
            records.append(record)
            owed.append(due)

        def replace(value: tuple[Learner, _State]) -> tuple[Learner, _State]:
            learner, records = value
            chosen = [
                (group, self._lowest(record, due))
                for group, record, due in zip(groups, records, owed, strict=True)
            ]
            if self.compensate:
                model = learner.model
                for (group, units), record in zip(chosen, records, strict=True):
                    means = (record.mean / self._weight(record)[:, None]).T.reshape(-1)
                    model = absorb_mean(model, group, units, means)
                learner = Learner(model, learner.model_state, learner.optimiser)
            learner = renewed(learner, chosen, key=draw_key)
            records = (_reborn(r, units) for r, (_, units) in zip(records, chosen, strict=True))
            return learner, tuple(records)

        return when(jnp.stack(owed).any(), replace, (learner, tuple(records)))

    def _observed(
        self,
        record: UnitRecord,
        activations: Float[Array, "examples units copies *positions"],
        incoming: Float[Array, " units"],
        outgoing: Float[Array, " units"],
        *,
        key: PRNGKeyArray,
    ) -> UnitRecord:
        """One step older, with the running means after this step."""
        others = (0, *range(3, activations.ndim))
        mean = self.decay * record.mean + (1 - self.decay) * jnp.mean(activations, axis=others)
        record = UnitRecord(record.age + 1, mean, record.utility, record.pending, record.remainder)
        centre = jnp.expand_dims(mean / self._weight(record)[:, None], others)
        over = (0, *range(2, activations.ndim))
        facts = UnitFacts(
            activity=jnp.mean(jnp.abs(activations), axis=over),
            deviation=jnp.mean(jnp.abs(activations - centre), axis=over),
            incoming=incoming,
            outgoing=outgoing,
            key=key,
        )
        utility = self.decay * record.utility + (1 - self.decay) * self.utility(facts)
        return UnitRecord(record.age, mean, utility, record.pending, record.remainder)

    def _charged(self, record: UnitRecord) -> tuple[UnitRecord, Int[Array, ""]]:
        """With this step's fraction of replacements, and how many are due now."""
        eligible = jnp.sum(record.age > self.maturity)
        pending = record.pending + eligible
        total = record.remainder + self.replacement_rate * pending
        due = jnp.minimum(jnp.floor(total).astype(int), eligible)
        fold = (due > 0) | (pending >= _MOST_PENDING)
        remainder = jnp.where(fold, total - due, record.remainder)
        pending = jnp.where(fold, 0, pending)
        return UnitRecord(record.age, record.mean, record.utility, pending, remainder), due

    def _lowest(self, record: UnitRecord, due: Int[Array, ""]) -> Bool[Array, " units"]:
        """The `due` eligible units of the lowest utility."""
        eligible = record.age > self.maturity
        utility = jnp.where(eligible, record.utility / self._weight(record), jnp.inf)
        first = jnp.arange(utility.size) < due
        return jnp.zeros_like(eligible).at[jnp.argsort(utility)].set(first) & eligible

    def _weight(self, record: UnitRecord) -> Float[Array, " units"]:
        return 1 - self.decay**record.age


def _newborn(group: UnitGroup) -> UnitRecord:
    return UnitRecord(
        age=jnp.zeros(group.size, int),
        mean=jnp.zeros((group.size, group.copies)),
        utility=jnp.zeros(group.size),
        pending=jnp.zeros((), int),
        remainder=jnp.zeros(()),
    )


def _reborn(record: UnitRecord, units: Bool[Array, " units"]) -> UnitRecord:
    return UnitRecord(
        age=jnp.where(units, 0, record.age),
        mean=jnp.where(units[:, None], 0, record.mean),
        utility=jnp.where(units, 0, record.utility),
        pending=record.pending,
        remainder=record.remainder,
    )
