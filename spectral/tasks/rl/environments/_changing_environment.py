"""An environment whose parameter changes on a schedule of its own."""

from dataclasses import KW_ONLY
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import check_count, check_kind, unknown_name
from ._environment import AbstractEnvironment
from ._schedules import AbstractSchedule


Change = Literal["step", "episode", "drift"]


class Phase(eqx.Module):
    """Where in its schedule an environment stands."""

    steps: Int[Array, ""]  # taken by all environments of the run together
    task: Int[Array, ""]  # the value that is in force


class ChangingEnvironment(eqx.Module):
    """An environment, the values that its parameter takes one after another, and when it changes.

    ```python
    limited = tasks.TimeLimit(tasks.PointMass(), 20)
    world = ChangingEnvironment(limited, tasks.LogUniform(0.1, 5.0), 10_000)
    ```

    **Arguments:**

    - `environment`: what obeys the parameter.
    - `schedule`: the values, task by task.
    - `steps_per_task`: environment steps until the next value, counted over all environments that
        are played side by side.
    - `change`: `"step"` changes the value at exactly that step, in the middle of an episode;
        `"episode"` at the first end of an episode from that step on, which lies at most an episode
        of every environment later (and never comes where episodes do not end: see `TimeLimit`);
        `"drift"` moves it a little in every step, from the value of a task to that of the next,
        evenly in the logarithm, and leaves it there after the last task.

    With `"episode"`, Dohare et al. (2024) count the steps of a task from the last change, so that
    each comes up to an episode later than it would here.

    **Raises:** `ValueError` for tasks of no steps or an unknown `change`, `TypeError` for what is
    no environment or no schedule.
    """

    environment: AbstractEnvironment
    schedule: AbstractSchedule
    steps_per_task: int = eqx.field(static=True)
    _: KW_ONLY
    change: Change = eqx.field(static=True, default="step")

    def __check_init__(self):
        check_kind("environment", self.environment, AbstractEnvironment, "tasks.PointMass()")
        check_kind("schedule", self.schedule, AbstractSchedule, "tasks.LogUniform()")
        check_count("steps_per_task", self.steps_per_task)
        kinds = ("step", "episode", "drift")
        if self.change not in kinds:
            raise ValueError(unknown_name("`change`: Rule", str(self.change), kinds))

    def begin(self) -> Phase:
        """Before the first step."""
        return Phase(jnp.asarray(0), jnp.asarray(0))

    def values(self, num_tasks: int, *, key: PRNGKeyArray) -> Float[Array, " values"]:
        """The values of all tasks, and one more, towards which the last may drift.

        **Raises:** `ValueError` for a schedule that returns another number of them.
        """
        values = self.schedule.values(num_tasks + 1, key=key)
        if values.shape != (num_tasks + 1,):
            raise ValueError(
                f"`schedule` is {type(self.schedule).__name__}, whose `values({num_tasks + 1})` "
                f"has the shape {values.shape}, but must have {(num_tasks + 1,)}: return one "
                "number for each of the tasks asked for."
            )
        return values

    def parameter(self, values: Float[Array, " values"], phase: Phase) -> Float[Array, ""]:
        """The value in the step that follows. `values` are those of all tasks, and one more."""
        if self.change != "drift":
            return values[phase.task]
        done = (phase.steps - phase.task * self.steps_per_task) / self.steps_per_task
        done = jnp.minimum(done, 1)
        now, after = jnp.log(values[phase.task]), jnp.log(values[phase.task + 1])
        return jnp.exp(now + done * (after - now))

    def advance(self, phase: Phase, ended: Bool[Array, ""], *, stride: int, last: int) -> Phase:
        """After a step, which took the steps of all environments forward by `stride` and may have
        `ended` an episode. The task `last` goes on to the end of the run."""
        steps = phase.steps + stride
        task = jnp.minimum(steps // self.steps_per_task, last)
        if self.change == "episode":
            task = jnp.where(ended, task, phase.task)
        return Phase(steps, task)

    def rollouts_per_task(self, steps_per_rollout: int, num_tasks: int) -> int:
        """The smallest number of rollouts of so many steps that takes at least those of a task.

        **Raises:** `ValueError` for tasks that would be whole tasks behind before the last begins,
        or more steps than a counter holds.
        """
        count = -(-self.steps_per_task // steps_per_rollout)
        late = count * steps_per_rollout - self.steps_per_task
        if (num_tasks - 1) * late >= self.steps_per_task:
            raise ValueError(
                f"`steps_per_rollout` is {steps_per_rollout}, of which a task takes {count}, "
                f"{late} steps more than its {self.steps_per_task}: within {num_tasks} tasks the "
                "environment would be a whole task ahead. Pass a world with `steps_per_task` a "
                f"multiple of the rollout, such as {count * steps_per_rollout}, or a shorter "
                "rollout."
            )
        if num_tasks * count * steps_per_rollout > jnp.iinfo(jnp.asarray(0).dtype).max:
            raise ValueError(
                f"`num_tasks` is {num_tasks}, which makes {num_tasks * count * steps_per_rollout} "
                "steps, more than a 32-bit counter holds: ask for fewer or shorter tasks, or set "
                "JAX_ENABLE_X64=1."
            )
        return count
