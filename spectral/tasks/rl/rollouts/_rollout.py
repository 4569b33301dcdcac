"""Playing in parallel environments, each of which is reset whenever its episode ends."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ..environments._changing_environment import ChangingEnvironment, Phase
from ..environments._environment import as_observation, Observation, reset_of, Step, step_of
from ..environments._state_arrays import as_arrays, with_types_of


class EnvironmentState(eqx.Module):
    """An environment in the middle of an episode. The state of several environments has a leading
    axis over them."""

    state: Any
    observation: Observation
    phase: Phase
    length: Int[Array, "..."]  # of the episode so far
    total: Float[Array, "..."]  # sum of the rewards of the episode so far


class Trajectory(eqx.Module):
    """The observations, actions and rewards of a rollout, with leaves
    `[steps, environments, ...]`."""

    observation: Observation  # before the action
    action: Array
    step: Step  # its observation follows the action and precedes a reset
    parameter: Float[Array, "..."]
    # Of the episode so far, including this step; its length and return if it ended here.
    length: Int[Array, "..."]
    total: Float[Array, "..."]

    @property
    def ended(self) -> Array:
        """Whether an episode ended with each step."""
        return self.step.terminated | self.step.truncated


def begin(
    world: ChangingEnvironment,
    values: Float[Array, " values"],
    num_environments: int,
    *,
    key: PRNGKeyArray,
) -> EnvironmentState:
    """Returns environments at the start of their first episodes."""

    def one(key: PRNGKeyArray) -> EnvironmentState:
        phase = world.begin()
        state, observation = _reset(world, values, phase, key=key)
        return EnvironmentState(state, observation, phase, jnp.asarray(0), jnp.zeros(()))

    return _each(one, jax.random.split(key, num_environments))


def play(
    world: ChangingEnvironment,
    values: Float[Array, " values"],
    environments: EnvironmentState,
    act: Callable[[Float[Array, "environments ..."], PRNGKeyArray], Array],
    num_steps: int,
    *,
    clip: bool = False,
    key: PRNGKeyArray,
) -> tuple[EnvironmentState, Trajectory]:
    """Play `num_steps` steps with the actions `act(observations, key)`.

    With `clip` the environment receives actions clipped to +-1; the trajectory keeps the originals.
    """
    num_environments = environments.length.shape[0]
    last = values.shape[0] - 2

    def move(
        environment: EnvironmentState, action: Array, keys: Key[Array, "2"]
    ) -> tuple[EnvironmentState, Trajectory]:
        step_key, reset_key = keys
        parameter = world.parameter(values, environment.phase)
        applied = jnp.clip(action, -1, 1) if clip else action
        # Pass a copy, because an environment may write into a dictionary of its state.
        before = jax.tree.map(lambda x: x, environment.state)
        state, step = step_of(world.environment, before, applied, parameter, key=step_key)
        step = _as_after_reset(step, environment.observation)
        state = with_types_of(state, environment.state)
        ended = step.terminated | step.truncated
        length, total = environment.length + 1, environment.total + step.reward
        phase = world.advance(environment.phase, ended, stride=num_environments, last=last)

        def after_reset() -> EnvironmentState:
            fresh, observation = _reset(world, values, phase, key=reset_key)
            fresh = with_types_of(fresh, state)
            return EnvironmentState(fresh, observation, phase, 0 * length, 0 * total)

        # With a single environment this is a branch, so that a reset costs nothing until needed.
        after = jax.lax.cond(
            ended,
            after_reset,
            lambda: EnvironmentState(state, step.observation, phase, length, total),
        )
        return after, Trajectory(environment.observation, action, step, parameter, length, total)

    def one_step(
        environments: EnvironmentState, keys: tuple[PRNGKeyArray, Key[Array, "environments 2"]]
    ) -> tuple[EnvironmentState, Trajectory]:
        act_key, move_keys = keys
        action = act(environments.observation.astype(float), act_key)
        return _each(move, environments, action, move_keys)

    # Splitting all keys at once is faster than splitting them within the steps.
    act_key, move_key = jax.random.split(key)
    keys = (
        jax.random.split(act_key, num_steps),
        jax.random.split(move_key, (num_steps, num_environments, 2)),
    )
    return jax.lax.scan(one_step, environments, keys)


def _each(function: Callable, *arguments: Any) -> Any:
    """Apply `function` to every environment."""
    if jax.tree.leaves(arguments)[0].shape[0] > 1:
        return jax.vmap(function)(*arguments)
    # Without vmap, which would compute both sides of a branch.
    result = function(*jax.tree.map(lambda x: x[0], arguments))
    return jax.tree.map(lambda x: x[None], result)


def _reset(
    world: ChangingEnvironment, values: Float[Array, " values"], phase: Phase, *, key: PRNGKeyArray
) -> tuple[Any, Observation]:
    parameter = world.parameter(values, phase)
    state, observation = reset_of(world.environment, parameter, key=key)
    observation = as_observation(observation)
    _check_observation(observation, world.environment.observation_size)
    return as_arrays(state), observation


def _check_observation(observation: Observation, size: int) -> None:
    if observation.size != size:
        raise ValueError(
            f"`observation_size` is {size}, but the environment gives observations of shape "
            f"{observation.shape}: correct the size."
        )


def _as_after_reset(step: Step, first: Observation) -> Step:
    """Returns the step with its observation in the type of the observations after a reset."""
    seen = step.observation
    _check_observation(seen, first.size)
    if seen.shape != first.shape or not (
        seen.dtype == first.dtype or jnp.issubdtype(first.dtype, jnp.floating)
    ):
        raise ValueError(
            f"The environment gives observations of shape {seen.shape} and type {seen.dtype} after "
            f"a step, but of shape {first.shape} and type {first.dtype} after a reset: return the "
            "same from both."
        )
    return eqx.tree_at(lambda s: s.observation, step, seen.astype(first.dtype))


def play_anew(
    world: ChangingEnvironment,
    values: Float[Array, " values"],
    act: Callable[[Float[Array, "environments ..."], PRNGKeyArray], Array],
    num_environments: int,
    num_steps: int,
    *,
    clip: bool,
    key: PRNGKeyArray,
) -> Trajectory:
    """Play in new environments. The arguments are those of `begin` and `play`."""
    begin_key, play_key = jax.random.split(key)
    environments = begin(world, values, num_environments, key=begin_key)
    return play(world, values, environments, act, num_steps, clip=clip, key=play_key)[1]


def values_of_task(
    world: ChangingEnvironment,
    values: Float[Array, " values"],
    environments: EnvironmentState,
    task: Int[Array, ""],
) -> Float[Array, " values"]:
    """Returns `values` with the parameter of the current task for every task."""
    if world.change == "drift":
        phase = jax.tree.map(lambda x: x[0], environments.phase)
        parameter = world.parameter(values, phase)
    else:
        parameter = values[task]
    return jnp.full_like(values, parameter)
