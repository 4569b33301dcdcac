"""An environment whose parameter changes on a schedule."""

from dataclasses import KW_ONLY
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ...._arguments import as_int, check_count, check_kind, unknown_name
from ._environment import AbstractEnvironment
from ._schedules import AbstractSchedule, has_index


Change = Literal["step", "episode", "drift"]


class Phase(eqx.Module):
    """The position of an environment in its schedule."""

    steps: Int[Array, ""]  # total steps of all environments of the run
    task: Int[Array, ""]  # the index of the current value


class ChangingEnvironment(eqx.Module):
    """An environment, the values that its parameter takes in turn, and when the value changes.

    ```python
    limited = tasks.TimeLimit(tasks.PointMass(), 20)
    world = ChangingEnvironment(limited, tasks.LogUniform(low=0.1, high=5.0), 10_000)
    ```

    **Arguments:**

    - `environment`: the environment that has the parameter.
    - `schedule`: the values, task by task.
    - `steps_per_task`: environment steps between changes, counted over all parallel environments.
    - `change`: `"step"` changes the value at exactly that step, in the middle of an episode.
        `"episode"` changes it at the first end of an episode from that step on, which takes at most
        one episode of every environment. If episodes do not end, it never comes; see `TimeLimit`.
        `"drift"` changes the value a little in every step, log-linearly from the value of a task to
        that of the next. After the last task the value stays constant.

    With `"episode"`, Dohare et al. (2024) count the steps of a task from the last change, so that
    each of their changes may come up to one episode later than here.

    **Raises:** `ValueError` for a number of steps below one, an unknown `change`, or `"drift"`
    between the indices of a `TaskIndex`; `TypeError` if `environment` is not an
    `AbstractEnvironment` or `schedule` not an `AbstractSchedule`.
    """

    environment: AbstractEnvironment
    schedule: AbstractSchedule
    steps_per_task: int = eqx.field(static=True, converter=as_int)
    _: KW_ONLY
    change: Change = eqx.field(static=True, default="step")

    def __check_init__(self):
        check_kind("environment", self.environment, AbstractEnvironment, "tasks.PointMass()")
        check_kind("schedule", self.schedule, AbstractSchedule, "tasks.LogUniform()")
        check_count("steps_per_task", self.steps_per_task)
        kinds = ("step", "episode", "drift")
        if self.change not in kinds:
            raise ValueError(unknown_name("`change`: Rule", str(self.change), kinds))
        if self.change == "drift" and has_index(self.schedule):
            raise ValueError(
                "`change` is 'drift', but the values of `TaskIndex` are indices, between which "
                "there is nothing: pass 'step' or 'episode'."
            )

    def begin(self) -> Phase:
        """Returns the phase before the first step."""
        return Phase(jnp.asarray(0), jnp.asarray(0))

    def values(self, num_tasks: int, *, key: PRNGKeyArray) -> Float[Array, " values"]:
        """Returns the values of all tasks and one more, towards which the last one may drift.

        **Raises:** `ValueError` if the schedule returns another number of values.
        """
        values = self.schedule.values(num_tasks + 1, key=key)
        if values.shape != (num_tasks + 1,):
            raise ValueError(
                f"`schedule` is {type(self.schedule).__name__}, whose `values({num_tasks + 1})` "
                f"has the shape {values.shape}, but must have {(num_tasks + 1,)}: return one "
                "number for each task."
            )
        return values

    def parameter(self, values: Float[Array, " values"], phase: Phase) -> Float[Array, ""]:
        """Returns the value in the next step; `values` are the result of `self.values`."""
        if self.change != "drift":
            return values[phase.task]
        done = (phase.steps - phase.task * self.steps_per_task) / self.steps_per_task
        done = jnp.minimum(done, 1)
        now, after = jnp.log(values[phase.task]), jnp.log(values[phase.task + 1])
        return jnp.exp(now + done * (after - now))

    def advance(self, phase: Phase, ended: Bool[Array, ""], *, stride: int, last: int) -> Phase:
        """Returns the phase after a step.

        `ended`: whether the step ended an episode. `stride`: the number of parallel environments.
        `last`: the index of the last task, which lasts to the end of the run.
        """
        steps = phase.steps + stride
        task = jnp.minimum(steps // self.steps_per_task, last)
        if self.change == "episode":
            task = jnp.where(ended, task, phase.task)
        return Phase(steps, task)

    def rollouts_per_task(self, steps_per_rollout: int, num_tasks: int) -> int:
        """Returns the smallest number of rollouts that has at least the steps of a task.

        **Raises:** `ValueError` if the surplus of steps adds up to a whole task before the last
        task begins, or if the total number of steps exceeds the counter.
        """
        count = -(-self.steps_per_task // steps_per_rollout)
        late = count * steps_per_rollout - self.steps_per_task
        if (num_tasks - 1) * late >= self.steps_per_task:
            raise ValueError(
                f"`steps_per_rollout` is {steps_per_rollout}, so that a task of "
                f"{self.steps_per_task} steps takes {count} rollouts, which are {late} steps more. "
                f"Within {num_tasks} tasks the environment would be a whole task ahead: pass a "
                "world with `steps_per_task` a multiple of the rollout, such as "
                f"{count * steps_per_rollout}, or a shorter rollout."
            )
        if num_tasks * count * steps_per_rollout > jnp.iinfo(jnp.asarray(0).dtype).max:
            raise ValueError(
                f"`num_tasks` is {num_tasks}, which gives {num_tasks * count * steps_per_rollout} "
                "steps, more than a 32-bit counter holds: choose fewer or shorter tasks, or set "
                "JAX_ENABLE_X64=1."
            )
        return count
