"""What a schedule of a learning rate is."""

from abc import abstractmethod
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float, Int


class AbstractLearningRateSchedule(eqx.Module):
    """A learning rate, or another number of an optimiser, that depends on the step.

    Its numbers are arrays, so a sweep over them does not recompile. The step is that of the loop's
    clock, not a count of its own: a schedule therefore needs no state, and its values do not depend
    on where a run was stopped and resumed. Steps are slots of the clock: minibatches of a chunk
    that are not in use are counted.

    `restart` says where the count starts: `"never"` counts from the start of the run, `"task"` from
    the start of each task.
    """

    restart: eqx.AbstractVar[Literal["never", "task"]]

    @abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at step `step`, from 0."""
