"""Actions that reach an environment in another form: repeated, or in reversed order."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...._arguments import check_kind
from ._environment import AbstractEnvironment, Observation, reset_of, Step, step_of
from ._wrapper import AbstractWrapper


class StickyState(eqx.Module):
    inner: Any
    last: Array  # the action that was taken in the step before
    begun: Bool[Array, ""]  # whether there was one


class StickyActions(AbstractWrapper[StickyState]):
    """An environment that repeats the action of the step before with a probability, the parameter
    (Machado et al., 2018).

    What is repeated is the action that was taken, which may have been a repetition itself. The
    first action of an episode is always taken. The parameter is handed on to the inner environment,
    which should ignore it.

    ```python
    clumsy = StickyActions(tasks.TimeLimit(tasks.PointMass(), 20))
    world = tasks.ChangingEnvironment(clumsy, tasks.Cycle((0.1, 0.5)), 10_000)
    ```

    **Raises:** `TypeError` if `environment` is not an `AbstractEnvironment`.
    """

    environment: AbstractEnvironment

    def __init__(self, environment: AbstractEnvironment):
        check_kind("environment", environment, AbstractEnvironment, "tasks.PointMass()")
        self.environment = environment

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[StickyState, Observation]:
        inner, observation = reset_of(self.environment, parameter, key=key)
        last = jnp.asarray(0) if self.discrete else jnp.zeros(self.action_size)
        return StickyState(inner, last, jnp.asarray(False)), observation

    def step(
        self, state: StickyState, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[StickyState, Step]:
        repeat_key, step_key = jax.random.split(key)
        repeats = state.begun & (jax.random.uniform(repeat_key) < parameter)
        taken = jnp.where(repeats, state.last.astype(action.dtype), action)
        inner, step = step_of(self.environment, state.inner, taken, parameter, key=step_key)
        return StickyState(inner, taken.astype(state.last.dtype), jnp.asarray(True)), step


class ReversedActions(AbstractWrapper[Any]):
    """An environment whose actions are reversed while the parameter, rounded, is odd.

    Of n choices, the choice i then has the effect of n - 1 - i. Left and right are exchanged in
    gymnax's CartPole and MountainCar. Vectors of numbers change their sign. With
    `schedule=TaskIndex()` every second task is reversed. The parameter is handed on to the inner
    environment.

    ```python
    mirrored = ReversedActions(tasks.TimeLimit(tasks.PointMass(), 20))
    world = tasks.ChangingEnvironment(mirrored, tasks.TaskIndex(), 10_000)
    ```

    **Raises:** `TypeError` if `environment` is not an `AbstractEnvironment`.
    """

    environment: AbstractEnvironment

    def __init__(self, environment: AbstractEnvironment):
        check_kind("environment", environment, AbstractEnvironment, "tasks.PointMass()")
        self.environment = environment

    def reset(self, parameter: Float[Array, ""], *, key: PRNGKeyArray) -> tuple[Any, Observation]:
        return reset_of(self.environment, parameter, key=key)

    def step(
        self, state: Any, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Any, Step]:
        reverses = jnp.round(parameter) % 2 == 1
        opposite = self.action_size - 1 - action if self.discrete else -action
        taken = jnp.where(reverses, opposite, action)
        return step_of(self.environment, state, taken, parameter, key=key)
