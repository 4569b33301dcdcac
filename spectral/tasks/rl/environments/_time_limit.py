"""Episodes of a limited length."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._arguments import check_count, check_kind
from ._environment import AbstractEnvironment, Step


class Timed(eqx.Module):
    inner: Any
    steps: Int[Array, ""]


class TimeLimit(AbstractEnvironment[Timed]):
    """An environment whose episodes are cut off after `steps` steps.

    What follows is then estimated by the value of the last observation. With `terminal=True` the
    limit counts as an end instead, after which nothing follows, as in Dohare et al. (2024).

    ```python
    environment = TimeLimit(tasks.PointMass(), 20)
    ```

    **Raises:** `ValueError` for a limit below one, `TypeError` for what is no environment.
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
    ) -> tuple[Timed, Float[Array, " observation"]]:
        inner, observation = self.environment.reset(parameter, key=key)
        return Timed(inner, jnp.asarray(0)), observation

    def step(
        self, state: Timed, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Timed, Step]:
        inner, step = self.environment.step(state.inner, action, parameter, key=key)
        steps = state.steps + 1
        over = (steps >= self.steps) & ~step.terminated
        if self.terminal:
            ends = step.terminated | over, step.truncated & ~over
        else:
            ends = step.terminated, step.truncated | over
        return Timed(inner, steps), Step(step.observation, step.reward, *ends)
