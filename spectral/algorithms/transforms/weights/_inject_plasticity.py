"""Plasticity injection at a task of the run."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count
from ...._base._quantity import Quantity
from ...._types import Clock, Learner, TaskStart
from ....models import PlasticityInjection
from ..._base._protocols import AbstractTransform
from ..._base._when import when


class Injection(eqx.Module):
    """Whether plasticity has been injected, and whether at the start of this task."""

    done: Bool[Array, ""]
    now: Bool[Array, ""]


class InjectPlasticity(AbstractTransform[Injection]):
    """Injects plasticity into the network once, at the start of a task.

    The network is `models.PlasticityInjection(..., later=True)`. The injection freezes the network
    f as the run has trained it, and adds g - g_0, which is zero at first: no output changes.
    From then on g alone is trained, with a new optimiser. All other parts of the algorithm forget
    what they remembered of f, as after a `Reset` of the whole network.

    Nikishin et al., *Deep Reinforcement Learning with Plasticity Injection* (2023). They inject
    at a time of the run that is chosen beforehand. Here a task begins then: in a world in which
    nothing changes, a task is what lies between two measurements. To inject when a sign of lost
    plasticity crosses a threshold, put it into `SwitchedOn`.

    The target network of a deep Q-network with a `PeriodicTarget` has the outputs that it had until
    its next copy. A `PolyakTarget` is copied at the injection.

    ```python
    model = models.PlasticityInjection(model, later=True, key=jax.random.key(1))
    algo = followed_by(bp(0.03), (InjectPlasticity(task=5),))
    ```

    It records `injected`: 1 from the task on at whose start plasticity was injected, 0 before.
    """

    task: int = eqx.field(static=True, converter=as_int)

    def __init__(self, *, task: int = 1):
        """**Arguments:**

        - `task`: the index of the task before which plasticity is injected. If the transform begins
          to act later, as in `SwitchedOn`, it is injected before the first task in which it acts.

        **Raises:** `ValueError` for a negative task; when training starts, `TypeError` for another
        network.
        """
        check_count("task", task, minimum=0)
        self.task = task

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> Injection:
        return Injection(_injected(learner.model), jnp.asarray(False))

    def begin_task(
        self, learner: Learner, state: Injection, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, Injection]:
        def act(learner: Learner) -> Learner:
            model = learner.model.inject()
            return Learner(model, learner.model_state, learner.optimiser.init(model))

        due = (start.clock.task >= self.task) & ~_injected(learner.model)
        return when(due, act, learner), Injection(state.done | due, due)

    def resets(
        self, learner: Learner, state: Injection, clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]]:
        params = eqx.filter(learner.model, eqx.is_inexact_array)
        return state.now, jax.tree.map(lambda _: True, params)

    def measure(self, state: Injection) -> dict[str, Array]:
        return {"injected": state.done.astype(float)}

    def quantities(self) -> dict[str, Quantity]:
        about = "plasticity has been injected"
        return {"injected": Quantity(about, limits=(0.0, 1.0), figure="switches")}


def _injected(model: Any) -> Bool[Array, ""]:
    if not isinstance(model, PlasticityInjection) or model.injected is None:
        raise TypeError(
            f"`model` is a {type(model).__name__}, but `InjectPlasticity` needs one that holds the "
            "new network from the start: pass "
            "`models.PlasticityInjection(model, later=True, key=...)`."
        )
    return model.injected
