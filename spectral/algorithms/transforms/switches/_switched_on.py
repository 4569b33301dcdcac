"""A transform that is switched on when a sign of lost plasticity crosses a threshold."""

from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count, check_finite_number
from ...._base._quantity import Quantity
from ...._base._returned import check_no_twins
from ...._types import Clock, Learner, Signal, TaskStart
from ..._base._arguments import check_name, Number
from ..._base._called import after_reset, begun, measured, updated
from ..._base._protocols import AbstractTransform
from ..._base._when import when
from ._sign import AbstractSign, number_in


class SwitchState(eqx.Module):
    """What `SwitchedOn` remembers.

    - `inner`: what its transform remembers.
    - `first`, `latest`: the first value of the sign that is known, and that of this task.
    - `crossed`: at how many task starts in a row the sign has been beyond the threshold.
    - `since`: the task at which the transform was switched on, -1 before.
    """

    inner: Any
    first: Float[Array, ""]
    latest: Float[Array, ""]
    crossed: Int[Array, ""]
    since: Int[Array, ""]

    @property
    def on(self) -> Bool[Array, ""]:
        """Whether the transform acts."""
        return self.since >= 0


class SwitchedOn(AbstractTransform[SwitchState]):
    """Applies `transform` from the task on at whose start a sign is beyond its threshold.

    The sign is a column of any probe. It is measured at the start of every task, on the network as
    the last task left it and on the examples of the new task that all probes of the run see; the
    `when` and `every` of the probe do not matter. Once switched on, the transform stays on. Until
    then nothing of it acts, and the weights are those of a run without it. In an ensemble each
    member has its own switch. What the transform remembers is initialised at the start of the run,
    so anchors are initial weights; a running mean of weights, as in `HareTortoise`, would begin
    there too. A sign that is NaN crosses nothing.

    The columns are `sign`, its value at the start of the task; `on`, 1 from the task on at which
    the transform was switched on and 0 before; `on_since`, this task, NaN before; and those of the
    transform. They begin with the label of the transform, as in `Reset.on`.

    The sign costs at every task what the probe costs, and it is part of the training program, so a
    costly probe takes longer to compile, once.

    ```python
    reset = Reset()
    sign = probes.DeadUnits()
    switched = SwitchedOn(reset, sign, "fraction", threshold=0.3, direction="above")
    followed_by(bp(0.03), (switched,))
    ```
    """

    transform: AbstractTransform
    sign: AbstractSign
    column: str = eqx.field(static=True)
    threshold: Float[Array, ""]
    direction: Literal["above", "below"] = eqx.field(static=True)
    relative: bool = eqx.field(static=True)
    patience: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        transform: AbstractTransform,
        sign: AbstractSign,
        column: str,
        *,
        threshold: Number,
        direction: Literal["above", "below"],
        relative: bool = False,
        patience: int = 1,
    ):
        """**Arguments:**

        - `transform`: what is switched on.
        - `sign`: a probe, such as `probes.DeadUnits()`.
        - `column`: the name under which the probe returns the sign. An array becomes one number as
          its quantity says.
        - `threshold`, `direction`: the sign crosses if it is `"above"` or `"below"` the threshold.
        - `relative`: the threshold is a multiple of the first value of the sign that is known, of
          the initial network on the first task. It is of use for signs that are positive there.
        - `patience`: at how many task starts in a row the sign must be beyond the threshold.

        **Raises:** `ValueError` for a threshold that is not finite, an unknown direction or a
        patience below one; when training starts, for a column that the probe does not measure or
        an array without a quantity, and for a transform with a column of the same name. Then also
        `TypeError` for a probe that trains.
        """
        check_finite_number("threshold", threshold)
        check_name("direction", direction, ("above", "below"))
        check_count("patience", patience)
        self.transform, self.sign, self.column = transform, sign, column
        self.threshold = jnp.asarray(threshold, dtype=float)
        self.direction, self.relative, self.patience = direction, relative, patience

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> SwitchState:
        nan, never = jnp.asarray(jnp.nan, float), jnp.asarray(-1, int)
        inner = self.transform.init(learner, key=key)
        return SwitchState(inner, nan, nan, jnp.asarray(0, int), never)

    def begin_task(
        self, learner: Learner, state: SwitchState, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, SwitchState]:
        sign_key, own_key = jax.random.split(key)
        row = start.measured(self.sign, learner, key=sign_key)
        state = self._judged(state, number_in(row, self.column, self.sign), start.clock)
        act = lambda pair: begun(self.transform, pair[0], pair[1], start, key=own_key)
        # Members of an ensemble are switched on at different tasks.
        learner, inner = when(state.on, act, (learner, state.inner))
        return learner, replace(state, inner=inner)

    def _judged(self, state: SwitchState, value: Float[Array, ""], clock: Clock) -> SwitchState:
        """The state after the sign has been found to have this value."""
        first = jnp.where(jnp.isnan(state.first), value, state.first)
        threshold = self.threshold * first if self.relative else self.threshold
        beyond = value > threshold if self.direction == "above" else value < threshold
        crossed = jnp.where(beyond, state.crossed + 1, 0)
        now = ~state.on & (crossed >= self.patience)
        since = jnp.where(now, clock.task, state.since)
        return SwitchState(state.inner, first, value, crossed, since)

    def update(
        self, learner: Learner, state: SwitchState, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, SwitchState]:
        act = lambda pair: updated(self.transform, pair[0], pair[1], signal, key=key)
        learner, inner = when(state.on, act, (learner, state.inner))
        return learner, replace(state, inner=inner)

    def resets(
        self, learner: Learner, state: SwitchState, clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]] | None:
        found = self.transform.resets(learner, state.inner, clock)
        return None if found is None else (found[0] & state.on, found[1])

    def after_reset(
        self, learner: Learner, state: SwitchState, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> SwitchState:
        inner = after_reset(self.transform, learner, state.inner, reset, key=key)
        return replace(state, inner=inner)

    def measure(self, state: SwitchState) -> dict[str, Array]:
        own = {
            "sign": state.latest,
            "on": state.on.astype(float),
            "on_since": jnp.where(state.on, state.since, jnp.nan),
        }
        inner = measured(self.transform, state.inner)
        check_no_twins(self, own, inner)
        return own | inner

    def quantities(self) -> dict[str, Quantity]:
        what = self.label
        declared = self.sign.quantities().get(self.column, Quantity(self.column))
        label = f"sign of {what}: {declared.label}"
        sign = replace(declared, label=label, better=None, compared=False, bounds={}, reduce="mean")
        on = Quantity(f"{what} is on", limits=(0.0, 1.0), figure="switches")
        since = Quantity(f"{what} on since task", figure="switches")
        return {"sign": sign, "on": on, "on_since": since} | self.transform.quantities()

    @property
    def label(self) -> str:
        return self.transform.label
