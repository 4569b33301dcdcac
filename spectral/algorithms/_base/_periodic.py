"""Cadence: a transform that acts once per period of steps."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from ..._arguments import as_int, check_count
from ..._base._quantity import Quantity
from ..._carry import branch
from ..._types import Clock, Learner, Signal, TaskStart
from ._called import begun, measured, updated
from ._protocols import AbstractTransform


class Periodic(AbstractTransform[Any]):
    """Applies `transform` only at steps where (step + 1) is a multiple of `period`.

    Steps are counted over the whole run. The period must divide the number of minibatches in a
    chunk or be a multiple of it, so that a period never ends in the middle of another chunk. If
    only part of a chunk is in use, a period of whole chunks ends with the last minibatch in use,
    and a shorter period is due only if all of its minibatches are in use. `begin_task` of the
    transform runs at every task.

    ```python
    Periodic(EffectiveRank(lr=1e-3, window=50), period=50)
    ```
    """

    transform: AbstractTransform
    period: int = eqx.field(static=True, converter=as_int)

    def __init__(self, transform: AbstractTransform, period: int):
        """**Raises:** `ValueError` for a period below one."""
        check_count("period", period)
        self.transform = transform
        self.period = period

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Any:
        return self.transform.init(learner, key=key)

    def begin_task(
        self, learner: Learner, state: Any, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, Any]:
        return begun(self.transform, learner, state, start, key=key)

    def update(
        self, learner: Learner, state: Any, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, Any]:
        """**Raises:** `ValueError` for a period that does not fit the chunk."""
        # All members of an ensemble share the clock, so under vmap this stays a branch.
        due = is_due(signal, self.period)
        act = lambda pair: updated(self.transform, pair[0], pair[1], signal, key=key)
        return branch(due, act, (learner, state))

    def resets(
        self, learner: Learner, state: Any, clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]] | None:
        return self.transform.resets(learner, state, clock)

    def after_reset(
        self, learner: Learner, state: Any, reset: PyTree[bool], *, key: PRNGKeyArray
    ) -> Any:
        return self.transform.after_reset(learner, state, reset, key=key)

    def measure(self, state: Any) -> dict[str, Array]:
        return measured(self.transform, state)

    def quantities(self) -> dict[str, Quantity]:
        return self.transform.quantities()

    @property
    def label(self) -> str:
        return self.transform.label


def is_due(signal: Signal, period: int) -> Bool[Array, ""]:
    """Whether this step completes a period of `period` steps, as `Periodic` counts them.

    **Raises:** `ValueError` for a period that does not fit the chunk.
    """
    _check_fits(signal.minibatches, period)
    clock, minibatches = signal.clock, signal.minibatches
    if period < minibatches:
        return (clock.step_in_chunk + 1) % period == 0
    last = minibatches if signal.chunk.in_use is None else signal.chunk.in_use
    chunks = clock.step // minibatches + 1  # since the run began, this one included
    return (chunks % (period // minibatches) == 0) & (clock.step_in_chunk + 1 == last)


def begins_period(signal: Signal, period: int) -> Bool[Array, ""]:
    """Whether this is the first step after a complete period of `period` steps.

    **Raises:** `ValueError` for a period that does not fit the chunk.
    """
    _check_fits(signal.minibatches, period)
    return (signal.clock.step > 0) & (signal.clock.step % period == 0)


def _check_fits(minibatches: int, period: int) -> None:
    if period % minibatches and minibatches % period:
        raise ValueError(
            f"A period of {period} steps does not fit a chunk of {minibatches} minibatches: choose "
            "a period that divides it or is a multiple of it, or change the length of the chunk."
        )
