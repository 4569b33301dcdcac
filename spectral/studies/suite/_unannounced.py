"""An algorithm that is not told where a task ends."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._base._quantity import Quantity
from ..._types import Learner, Signal, Step
from ...algorithms import AbstractPenalty, AbstractTransform, Algorithm


def unannounced(algorithm: Algorithm) -> Algorithm:
    """Hide the boundaries of tasks from an algorithm.

    No transform gets a `begin_task`, so nothing is reset there, and the clock that transforms and
    penalties see counts one task that never ends. What remains visible is the data: a chunk holds
    minibatches of one task.

    **Raises:** `ValueError` for a learning rate that starts again in every task.
    """
    optimiser = algorithm.optimiser
    for name, schedule in optimiser.schedules.items():
        if schedule.restart == "task":
            raise ValueError(
                f"`{name}` is a schedule with `restart='task'`, but the boundaries of tasks are "
                "hidden: pass `restart='never'`, or score the algorithm on the other track."
            )
    return Algorithm(
        optimiser,
        penalties=tuple(map(UnannouncedPenalty, algorithm.penalties)),
        transforms=tuple(map(UnannouncedTransform, algorithm.transforms)),
    )


class UnannouncedTransform(AbstractTransform[Any]):
    """A transform that is not told where a task ends."""

    transform: AbstractTransform

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Any:
        return self.transform.init(learner, key=key)

    def update(
        self, learner: Learner, state: Any, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, Any]:
        seen = replace(signal, step=_one_task(signal.step))
        return self.transform.update(learner, state, seen, key=key)

    def measure(self, state: Any) -> dict[str, Array]:
        return self.transform.measure(state)

    def quantities(self) -> dict[str, Quantity]:
        return self.transform.quantities()

    @property
    def label(self) -> str:
        return self.transform.label


class UnannouncedPenalty(AbstractPenalty[Any]):
    """A penalty that is not told where a task ends."""

    penalty: AbstractPenalty

    def init(self, model: PyTree, *, key: PRNGKeyArray) -> Any:
        return self.penalty.init(model, key=key)

    def value(self, model: PyTree, state: Any, step: Step) -> Float[Array, ""]:
        return self.penalty.value(model, state, _one_task(step))

    def update(self, model: PyTree, state: Any, signal: Signal, *, key: PRNGKeyArray) -> Any:
        seen = replace(signal, step=_one_task(signal.step))
        return self.penalty.update(model, state, seen, key=key)


def _one_task(step: Step) -> Step:
    """The step with a clock that counts chunks from the start of the run."""
    clock = step.clock
    chunk = (clock.step - clock.step_in_chunk) // step.minibatches
    return replace(step, clock=replace(clock, chunk=chunk, task=jnp.zeros_like(clock.task)))
