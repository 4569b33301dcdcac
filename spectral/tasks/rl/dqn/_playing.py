"""Playing apart from the training: new transitions, and episodes without exploration."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...._types import Learner
from ..environments._changing_environment import ChangingEnvironment
from ..rollouts._rollout import play_anew, Trajectory
from ._replay_state import ReplayState
from ._transition import PlayedSteps, Transition, transitions_from
from ._value_network import EpsilonGreedy, ValueNetwork


def new_transitions(
    world: ChangingEnvironment,
    state: ReplayState,
    learner: Learner,
    count: int,
    *,
    steps_per_return: int,
    discount: Float[Array, ""],
    key: PRNGKeyArray,
) -> Transition:
    """Returns `count` transitions of a separate environment, with the present epsilon."""
    num_steps = count + steps_per_return - 1
    trajectory = play_apart(world, state, learner, state.epsilon, 1, num_steps, key=key)
    return transitions_from(PlayedSteps.of(trajectory), steps_per_return, discount=discount)


def greedy_episodes(
    world: ChangingEnvironment,
    state: ReplayState,
    learner: Learner,
    num_environments: int,
    num_steps: int,
    *,
    key: PRNGKeyArray,
) -> Trajectory:
    """Play `num_steps` steps in each of `num_environments` separate environments, without
    exploration."""
    never = jnp.zeros(())
    return play_apart(world, state, learner, never, num_environments, num_steps, key=key)


def play_apart(
    world: ChangingEnvironment,
    state: ReplayState,
    learner: Learner,
    epsilon: Float[Array, ""],
    num_environments: int,
    num_steps: int,
    *,
    key: PRNGKeyArray,
) -> Trajectory:
    """Play in separate environments with the parameter of the task."""
    values = state.values_of_task(world)
    act = EpsilonGreedy(ValueNetwork.of(learner), epsilon, world.environment.action_size)
    return play_anew(world, values, act, num_environments, num_steps, clip=False, key=key)
