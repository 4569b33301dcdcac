"""A learning rate that falls within each task."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._arguments import check_above, check_count
from ...._types import Clock, Learner, Signal
from ..._base._algorithm import AbstractTransform
from ..._base._periodic import is_due


class StepDecay(AbstractTransform[Float[Array, ""]]):
    """Multiplies the learning rate by `factor` before each of the given chunks (epochs) of a task.

    Every task begins with the full rate again. Dohare et al. (2024) train Incremental CIFAR with
    `StepDecay(0.2, (60, 120, 160))` and 200 epochs a task.

    ```python
    followed_by(l2(sgd(0.1, momentum=0.9), weight_decay=5e-4), (StepDecay(0.2, (60, 120, 160)),))
    ```
    """

    factor: Float[Array, ""]
    chunks: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, factor: float | Float[Array, ""], chunks: tuple[int, ...]):
        """**Arguments:**

        - `factor`: what the rate is multiplied by.
        - `chunks`: before which chunks of a task, counted from 0.

        **Raises:** `ValueError` for a factor that is not positive, or a chunk below 1.
        """
        check_above("factor", factor, 0)
        for chunk in chunks:
            check_count("chunks", chunk)
        self.factor = jnp.asarray(factor, dtype=float)
        self.chunks = tuple(chunks)

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """The full rate.

        **Raises:** `ValueError` for an optimiser without a learning rate.
        """
        if "learning_rate" not in learner.optimiser.hyper:
            raise ValueError(
                f"`StepDecay` needs an optimiser with a `learning_rate`, but this one has "
                f"{sorted(learner.optimiser.hyper)}: name it so, or leave the transform out."
            )
        return learner.optimiser.hyper["learning_rate"]

    def begin_task(
        self, learner: Learner, state: Float[Array, ""], clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[Learner, Float[Array, ""]]:
        return _with_rate(learner, state), state

    def update(
        self, learner: Learner, state: Float[Array, ""], signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, Float[Array, ""]]:
        """The rate of the next step."""
        chunk = signal.clock.chunk + is_due(signal, signal.minibatches)
        times = sum((chunk >= c for c in self.chunks), start=jnp.asarray(0))
        return _with_rate(learner, state * self.factor**times), state


def _with_rate(learner: Learner, rate: Float[Array, ""]) -> Learner:
    return eqx.tree_at(lambda le: le.optimiser.hyper["learning_rate"], learner, rate)
