"""A learning rate that falls in steps within each task."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...._arguments import as_ints, check_count
from ...._types import Learner, Signal, TaskStart
from ..._base._arguments import as_positive, Number
from ..._base._periodic import is_due
from ..._base._protocols import AbstractTransform


class StepDecay(AbstractTransform[Float[Array, ""]]):
    """Multiplies the learning rate by `factor` before each of the given chunks (epochs) of a task.

    Every task starts with the full learning rate. Dohare et al. (2024) train Incremental CIFAR with
    `StepDecay(0.2, (60, 120, 160))` and 200 epochs per task. The learning rate is the number that
    the optimiser keeps under optax's name, `learning_rate`.

    ```python
    followed_by(l2(sgd(0.1, momentum=0.9), weight_decay=5e-4), (StepDecay(0.2, (60, 120, 160)),))
    ```
    """

    factor: Float[Array, ""]
    chunks: tuple[int, ...] = eqx.field(static=True, converter=as_ints)

    def __init__(self, factor: Number, chunks: tuple[int, ...]):
        """**Arguments:**

        - `factor`: multiplies the learning rate.
        - `chunks`: the indices, from 0, of the chunks of a task before which it does.

        **Raises:** `ValueError` for a factor that is not positive, or a chunk below 1.
        """
        self.factor = as_positive("factor", factor)
        for chunk in chunks:
            check_count("chunks", chunk)
        self.chunks = tuple(chunks)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Returns the full learning rate.

        **Raises:** `ValueError` for an optimiser without a learning rate, or whose learning rate
        follows a schedule.
        """
        if "learning_rate" in learner.optimiser.schedules:
            raise ValueError(
                "`StepDecay` needs an optimiser with a constant `learning_rate`, but this one "
                "follows a schedule, which sets it at every step: pass a number, or leave the "
                "transform out."
            )
        if "learning_rate" not in learner.optimiser.hyper:
            raise ValueError(
                f"`StepDecay` needs an optimiser with a `learning_rate`, but this one has "
                f"{sorted(learner.optimiser.hyper)}: rename it, or leave the transform out."
            )
        return learner.optimiser.hyper["learning_rate"]

    def begin_task(
        self, learner: Learner, state: Float[Array, ""], start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, Float[Array, ""]]:
        return _with_lr(learner, state), state

    def update(
        self, learner: Learner, state: Float[Array, ""], signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, Float[Array, ""]]:
        """Sets the learning rate of the next step."""
        chunk = signal.clock.chunk + is_due(signal, signal.minibatches)
        times = sum((chunk >= c for c in self.chunks), start=jnp.asarray(0))
        return _with_lr(learner, state * self.factor**times), state

    def after_reset(
        self,
        learner: Learner,
        state: Float[Array, ""],
        reset: PyTree[bool],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        return state  # the learner may hold the learning rate of the end of the last task


def _with_lr(learner: Learner, lr: Float[Array, ""]) -> Learner:
    return eqx.tree_at(lambda le: le.optimiser.hyper["learning_rate"], learner, lr)
