"""A discrete environment whose observations are bytes, and DQN on it at the size of a test."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import models, tasks


class Switching(tasks.AbstractEnvironment):
    """Counts the steps of an episode. A tag is drawn for each episode. With an even tag the episode
    terminates after 3 steps, otherwise it is truncated after 4.

    The observation is (count, tag), in bytes. The reward is parameter * action - 0.1 * count.
    """

    observation_size: int = eqx.field(static=True, default=2)
    action_size: int = eqx.field(static=True, default=2)
    discrete: bool = eqx.field(static=True, default=True)

    def reset(self, parameter, *, key):
        tag = jax.random.randint(key, (), 0, 200)
        state = jnp.stack([jnp.zeros_like(tag), tag])
        return state, state.astype(jnp.uint8)

    def step(self, state, action, parameter, *, key):
        state = state.at[0].add(1)
        count, even = state[0], state[1] % 2 == 0
        reward = parameter * action - 0.1 * count
        seen = state.astype(jnp.uint8)
        return state, tasks.Step(seen, reward, even & (count == 3), count == 4)


def switching_dqn(**options: Any) -> tasks.DQN:
    """Chunks of 8 environment steps in two environments and of 4 gradient steps; the parameter
    changes every 32 steps."""
    world = tasks.ChangingEnvironment(Switching(), tasks.Cycle((0.5, 1.5)), 32)
    options = {
        "num_tasks": 3,
        "capacity": 24,
        "minibatch_size": 5,
        "learning_starts": 4,
        "replay_ratio": 0.5,
        "steps_per_rollout": 8,
        "num_environments": 2,
        "steps_per_return": 2,
        "target_update": tasks.PeriodicTarget(period=8),
        "exploration": tasks.LinearEpsilon(last=0.2, steps=40),
        "num_evaluation_environments": 2,
        "evaluation_steps": 5,
    } | options
    return tasks.DQN(world, **options)


def value_network(*, layer_norm: bool = False, key: Any) -> models.MLP:
    return models.MLP(2, 2, width=4, depth=1, layer_norm=layer_norm, key=key)
