"""A time limit for episodes."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from ...._arguments import check_count, check_kind
from ._environment import AbstractEnvironment, reset_of, Step, step_of


class TimedState(eqx.Module):
    inner: Any
    steps: Int[Array, ""]  # of the episode so far


class TimeLimit(AbstractEnvironment[TimedState]):
    """An environment whose episodes are truncated after `steps` steps.

    Later rewards are then estimated by the value of the last observation. With `terminal=True` the
    limit terminates the episode instead, and later rewards count as 0, as in Dohare et al. (2024).

    ```python
    environment = TimeLimit(tasks.PointMass(), 20)
    ```

    **Raises:** `ValueError` for a limit below one, `TypeError` if `environment` is not an
    `AbstractEnvironment`.
    """

    environment: AbstractEnvironment
    steps: int = eqx.field(static=True)
    terminal: bool = eqx.field(static=True)

    def __init__(self, environment: AbstractEnvironment, steps: int, *, terminal: bool = False):
        check_kind("environment", environment, AbstractEnvironment, "tasks.PointMass()")
        check_count("steps", steps)
        self.environment = environment
        self.steps = steps
        self.terminal = terminal

    @property
    def observation_size(self) -> int:
        return self.environment.observation_size

    @property
    def action_size(self) -> int:
        return self.environment.action_size

    @property
    def discrete(self) -> bool:
        return self.environment.discrete

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[TimedState, Shaped[Array, " observation"]]:
        inner, observation = reset_of(self.environment, parameter, key=key)
        return TimedState(inner, jnp.asarray(0)), observation

    def step(
        self, state: TimedState, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[TimedState, Step]:
        inner, step = step_of(self.environment, state.inner, action, parameter, key=key)
        steps = state.steps + 1
        over = (steps >= self.steps) & ~step.terminated
        if self.terminal:
            ends = step.terminated | over, step.truncated & ~over
        else:
            ends = step.terminated, step.truncated | over
        return TimedState(inner, steps), Step(step.observation, step.reward, *ends)
