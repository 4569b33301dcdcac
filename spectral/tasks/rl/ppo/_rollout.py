"""Playing: environments side by side, each beginning anew whenever its episode ends."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ..environments._changing_environment import ChangingEnvironment, Phase
from ..environments._environment import Step


class EnvironmentState(eqx.Module):
    """An environment in the middle of an episode. Several have a leading axis over environments."""

    state: Any
    observation: Float[Array, "..."]
    phase: Phase
    length: Int[Array, "..."]  # of the episode so far
    total: Float[Array, "..."]  # its rewards so far


class Trajectory(eqx.Module):
    """What was seen and done in a step. Of all steps: leaves `[steps, environments, ...]`."""

    observation: Float[Array, "... observation"]
    action: Array
    step: Step  # its observation is what followed the action, before any new beginning
    parameter: Float[Array, "..."]
    # Of the episode so far: its whole length and return where it ended with this step.
    length: Int[Array, "..."]
    total: Float[Array, "..."]

    @property
    def ended(self) -> Array:
        """Where an episode ended."""
        return self.step.terminated | self.step.truncated


def begin(
    world: ChangingEnvironment,
    values: Float[Array, " values"],
    num_environments: int,
    *,
    key: PRNGKeyArray,
) -> EnvironmentState:
    """Environments at the beginning of their first episodes."""

    def one(key: PRNGKeyArray) -> EnvironmentState:
        phase = world.begin()
        state, observation = _anew(world, values, phase, key=key)
        return EnvironmentState(state, observation, phase, jnp.asarray(0), jnp.zeros(()))

    return _each(one, jax.random.split(key, num_environments))


def play(
    world: ChangingEnvironment,
    values: Float[Array, " values"],
    players: EnvironmentState,
    act: Callable[[Float[Array, "environments observation"], PRNGKeyArray], Array],
    steps: int,
    *,
    clip: bool = False,
    key: PRNGKeyArray,
) -> tuple[EnvironmentState, Trajectory]:
    """Play on for `steps` steps, with the actions `act(observations, key)`.

    `clip` keeps what the environment is given of an action within +-1.
    """
    num_environments = players.length.shape[0]
    last = values.shape[0] - 2

    def move(
        player: EnvironmentState, action: Array, keys: Key[Array, "2"]
    ) -> tuple[EnvironmentState, Trajectory]:
        step_key, reset_key = keys
        parameter = world.parameter(values, player.phase)
        applied = jnp.clip(action, -1, 1) if clip else action
        # A copy, for dictionaries that an environment writes into.
        before = jax.tree.map(lambda x: x, player.state)
        state, step = world.environment.step(before, applied, parameter, key=step_key)
        _check_observation(step.observation, world.environment.observation_size)
        state = _alike(state, player.state)
        ended = step.terminated | step.truncated
        length, total = player.length + 1, player.total + step.reward
        phase = world.advance(player.phase, ended, stride=num_environments, last=last)

        def anew() -> EnvironmentState:
            own, observation = _anew(world, values, phase, key=reset_key)
            return EnvironmentState(_alike(own, state), observation, phase, 0 * length, 0 * total)

        # For a single environment this is a branch, and a reset costs nothing until it is due.
        after = jax.lax.cond(
            ended, anew, lambda: EnvironmentState(state, step.observation, phase, length, total)
        )
        return after, Trajectory(player.observation, action, step, parameter, length, total)

    def one_step(
        players: EnvironmentState, keys: tuple[PRNGKeyArray, Key[Array, "environments 2"]]
    ) -> tuple[EnvironmentState, Trajectory]:
        act_key, move_keys = keys
        action = act(players.observation, act_key)
        return _each(move, players, action, move_keys)

    # All at once, which is faster than one after another within the steps.
    act_key, move_key = jax.random.split(key)
    keys = (
        jax.random.split(act_key, steps),
        jax.random.split(move_key, (steps, num_environments, 2)),
    )
    return jax.lax.scan(one_step, players, keys)


def _each(function: Callable, *arguments: Any) -> Any:
    """`function` of every environment."""
    if jax.tree.leaves(arguments)[0].shape[0] > 1:
        return jax.vmap(function)(*arguments)
    # Under vmap both sides of a branch would be taken.
    result = function(*jax.tree.map(lambda x: x[0], arguments))
    return jax.tree.map(lambda x: x[None], result)


def _anew(
    world: ChangingEnvironment, values: Float[Array, " values"], phase: Phase, *, key: PRNGKeyArray
) -> tuple[Any, Float[Array, " observation"]]:
    state, observation = world.environment.reset(world.parameter(values, phase), key=key)
    observation = jnp.asarray(observation, float)
    _check_observation(observation, world.environment.observation_size)
    # A state may begin with counters that are numbers of Python.
    return jax.tree.map(jnp.asarray, state), observation


def _alike(new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.asarray(n, o.dtype), new, old)


def _check_observation(observation: Array, size: int) -> None:
    if observation.shape != (size,):
        raise ValueError(
            f"The environment shows observations of shape {observation.shape}, but says that they "
            f"have {size} components: correct its `observation_size`, or flatten them."
        )
