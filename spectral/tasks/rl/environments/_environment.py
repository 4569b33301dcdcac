"""The interface of a reinforcement learning environment."""

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from ...._base._returned import check_tuple


State = TypeVar("State")
Observation = Float[Array, "..."] | Bool[Array, "..."] | UInt8[Array, "..."]


def as_observation(observation: Any) -> Observation:
    """Returns an observation as an array. Bytes and Booleans stay as they are, so that rollouts and
    replays of them are small. Anything else becomes floating-point numbers."""
    observation = jnp.asarray(observation)
    small = observation.dtype in (jnp.bool_, jnp.uint8)
    return observation if small else observation.astype(float)


class Step(eqx.Module):
    """The result of one step of an environment.

    `terminated`: the episode has ended, and its later rewards count as 0. `truncated`: the episode
    was cut off, for example by a time limit, and its later rewards are estimated by the value of
    `observation`. In both cases `observation` is the last one of this episode. Bytes and Booleans
    stay as they are until a network sees them; other numbers become floating-point numbers.
    """

    observation: Observation = eqx.field(converter=as_observation)
    reward: Float[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    terminated: Bool[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, bool))
    truncated: Bool[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, bool))


class AbstractEnvironment(eqx.Module, Generic[State]):
    """An environment whose dynamics depend on one number.

    This number, `parameter` (a friction, a factor on gravity, ...), is a traced argument of every
    step. It may change in the middle of an episode without a new compilation. Both methods are pure
    functions of one environment; they are mapped over several. An environment never resets itself:
    the caller calls `reset` with a new key.

    An observation is a vector, or an image with channels first, of `observation_size` entries. If
    the environment is `discrete`, an action is an integer below `action_size`. Otherwise it is a
    vector of `action_size` numbers.

    ```python
    class Walk(tasks.AbstractEnvironment):  # to the right or left on sloping ground
        observation_size: int = 1
        action_size: int = 2
        discrete: bool = True

        def reset(self, parameter, *, key):
            position = jax.random.uniform(key)
            return position, position[None]

        def step(self, state, action, parameter, *, key):
            position = state + 2.0 * action - 1 - parameter
            return position, tasks.Step(position[None], position, jnp.abs(position) > 10, False)

    world = tasks.ChangingEnvironment(tasks.TimeLimit(Walk(), 50), tasks.LogUniform(), 2048)
    walking = tasks.PPO(world, num_tasks=2)
    ```
    """

    observation_size: eqx.AbstractVar[int]
    action_size: eqx.AbstractVar[int]
    discrete: eqx.AbstractVar[bool]

    @abstractmethod
    def reset(self, parameter: Float[Array, ""], *, key: PRNGKeyArray) -> tuple[State, Observation]:
        """Begin an episode. Returns its state and its first observation. If it is of bytes or
        Booleans, those of `step` must be too, and a replay keeps them as such."""

    @abstractmethod
    def step(
        self, state: State, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[State, Step]:
        """Take an action. Returns the next state, and the observation and reward."""


def reset_of(
    environment: AbstractEnvironment[State], parameter: Float[Array, ""], *, key: PRNGKeyArray
) -> tuple[State, Observation]:
    """Returns `environment.reset(parameter, key=key)`. **Raises:** `TypeError` if it is not a
    pair."""
    found = environment.reset(parameter, key=key)
    check_tuple(environment, "reset", found, object, object)
    return found


def step_of(
    environment: AbstractEnvironment[State],
    state: State,
    action: Array,
    parameter: Float[Array, ""],
    *,
    key: PRNGKeyArray,
) -> tuple[State, Step]:
    """Returns `environment.step(state, action, parameter, key=key)`. **Raises:** `TypeError` if it
    is not a state and a `Step`."""
    found = environment.step(state, action, parameter, key=key)
    check_tuple(environment, "step", found, object, Step)
    return found


def observation_of(environment: AbstractEnvironment) -> jax.ShapeDtypeStruct:
    """Returns the shape and the type of the observations of an environment."""

    def first(key: PRNGKeyArray) -> Observation:
        return as_observation(reset_of(environment, jnp.ones(()), key=key)[1])

    return jax.eval_shape(first, jax.random.key(0))
