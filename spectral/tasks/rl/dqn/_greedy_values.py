"""The values of greedy actions, and the returns that follow them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ...._types import Learner
from ._dqn import DQN
from ._playing import greedy_episodes
from ._replay_state import ReplayState
from ._value_network import ValueNetwork


Steps = Float[Array, "steps environments"]


class GreedyValues(eqx.Module):
    """The values of greedy actions at each step, and what followed."""

    value: Steps  # of the greedy action
    following: Steps  # the discounted sum of the rewards that followed
    bootstrapped: Steps  # the weight in `following` of the network's value where it was cut off


def greedy_values(
    stream: DQN,
    state: ReplayState,
    learner: Learner,
    num_environments: int,
    num_steps: int,
    *,
    key: PRNGKeyArray,
) -> GreedyValues:
    """Play without exploration in separate environments, with the parameter of the task. Returns
    the value of the greedy action at each step and the discounted return that follows it.

    Where an episode is cut off, by a time limit or by the end of the last step, the network's own
    value estimates the rest. Its weight is `bootstrapped`: 0 if the episode terminated, and
    discount^m if it was cut off after m steps. Where it is near 1, `following` says little.

    ```
    found = tasks.greedy_values(stream, state, learner, 4, 500, key=key)
    jnp.mean(found.value - found.following)   # the overestimation
    ```
    """
    sizes = num_environments, num_steps
    trajectory = greedy_episodes(stream.world, state, learner, *sizes, key=key)
    network = ValueNetwork.of(learner)
    rows = lambda x: x.reshape(-1, *x.shape[2:]).astype(float)
    best = lambda x: jnp.max(network(rows(x), stream.out_size), axis=1).reshape(x.shape[:2])
    following, bootstrapped = returns_from(
        trajectory.step.reward,
        best(trajectory.step.observation),
        trajectory.step.terminated,
        trajectory.step.truncated,
        discount=stream.discount,
    )
    return GreedyValues(best(trajectory.observation), following, bootstrapped)


def returns_from(
    rewards: Steps,
    next_values: Steps,
    terminated: Bool[Array, "steps environments"],
    truncated: Bool[Array, "steps environments"],
    *,
    discount: float | Float[Array, ""],
) -> tuple[Steps, Steps]:
    """Returns the discounted return from each step on, and the weight of a value of `next_values`
    in it: of the step at which its episode is cut off, or of the last step."""

    def back(later: Any, now: Any) -> Any:
        (total, weight), (reward, value, ends, cut) = later, now
        total, weight = jnp.where(cut, value, total), jnp.where(cut, 1, weight)
        total, weight = jnp.where(ends, 0, total), jnp.where(ends, 0, weight)
        after = reward + discount * total, discount * weight
        return after, after

    last = next_values[-1], jnp.ones_like(rewards[0])
    steps = rewards, next_values, terminated, truncated
    return jax.lax.scan(back, last, steps, reverse=True)[1]
