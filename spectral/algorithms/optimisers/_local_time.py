"""Adam on local time: its step count starts again when the objective changes.

The transform is here, beside the optimiser whose state it knows.
"""

from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray, PyTree

from ..._base._optimiser import Optimiser
from ..._carry import branch
from ..._types import Learner, Signal, TaskStart
from .._base._arguments import check_name
from .._base._periodic import is_due
from .._base._protocols import AbstractTransform
from ._adam import EntrywiseAdamState


class LocalTime(AbstractTransform[None]):
    """Adam-Rel (Ellis et al., *Adam on Local Time*, 2024): the step count of Adam is 0 again
    whenever the objective changes. Its moments m and v are kept.

    The next step is then

        lr [(b1 m + (1 - b1) g) / (1 - b1)] / (sqrt[(b2 v + (1 - b2) g^2) / (1 - b2)] + eps)

    so a gradient much larger than before moves a weight by about lr, where Adam with its old count
    would move it by up to (1 - b1) / sqrt(1 - b2) = 3.2 lr. It acts on `algorithms.adam` and on the
    Adam of optax, also within a chain, under TRAC or for the vectors of Muon. Schedules keep their
    counts. The rule was read in the abstract and in two public ports. Their variant that clears the
    moments too is not offered.

    ```python
    Algorithm(adam(1e-3), transforms=(LocalTime(),))
    ```
    """

    at: Literal["task", "chunk"] = eqx.field(static=True)

    def __init__(self, *, at: Literal["task", "chunk"] = "task"):
        """**Arguments:**

        - `at`: count from the start of the `"task"`, or of the `"chunk"`, which in reinforcement
          learning is a rollout, as published for PPO.

        **Raises:** `ValueError` for an unknown name.
        """
        check_name("at", at, ("task", "chunk"))
        self.at = at

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `ValueError` for an optimiser without Adam."""
        states = jax.tree.leaves(learner.optimiser.state, is_leaf=_is_adam)
        if not any(map(_is_adam, states)):
            name = getattr(learner.optimiser.make, "__name__", "given")
            raise ValueError(
                f"`LocalTime` needs an optimiser with the step count of Adam, but the optimiser "
                f"`{name}` has none: use `algorithms.adam(1e-3)`, or leave the transform out."
            )

    def begin_task(
        self, learner: Learner, state: None, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        return branch(start.clock.task > 0, _started_again, learner), state

    def update(
        self, learner: Learner, state: None, signal: Signal, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        if self.at == "task":
            return learner, state
        return branch(is_due(signal, signal.minibatches), _started_again, learner), state


def _started_again(learner: Learner) -> Learner:
    optimiser: Optimiser = learner.optimiser
    state = jax.tree.map(_at_zero, optimiser.state, is_leaf=_is_adam)
    return replace(learner, optimiser=eqx.tree_at(lambda o: o.state, optimiser, state))


def _at_zero(state: PyTree) -> PyTree:
    """The state of Adam after no steps, with its moments."""
    if isinstance(state, EntrywiseAdamState):
        ones = jax.tree.map(jnp.ones_like, (state.mean_bias, state.square_bias))
        return state._replace(mean_bias=ones[0], square_bias=ones[1])
    if isinstance(state, optax.ScaleByAdamState):
        return state._replace(count=jnp.zeros_like(state.count))
    return state


def _is_adam(node: Any) -> bool:
    return isinstance(node, EntrywiseAdamState | optax.ScaleByAdamState)
