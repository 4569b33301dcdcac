"""An environment whose numbers can all be computed by hand."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import models, tasks


class Counting(tasks.AbstractEnvironment):
    """Counts the steps of an episode. A tag is drawn for each episode. With a tag below 1/2 the
    episode terminates after 3 steps, otherwise it is truncated after 4.

    The observation is (count, tag, parameter), the reward count + action.
    """

    observation_size: int = eqx.field(static=True, default=3)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)

    def reset(self, parameter, *, key):
        state = jnp.stack([jnp.zeros(()), jax.random.uniform(key)])
        return state, jnp.append(state, parameter)

    def step(self, state, action, parameter, *, key):
        count, tag = state[0] + 1, state[1]
        state = jnp.stack([count, tag])
        seen = jnp.append(state, parameter)
        reward = count + action[0]
        return state, tasks.Step(seen, reward, (tag < 0.5) & (count == 3), count == 4)


def counting_ppo(**options: Any) -> tasks.PPO:
    """Rollouts of 16 steps; the parameter changes every 13."""
    world = tasks.ChangingEnvironment(Counting(), tasks.Cycle((0.5, 1.5)), 13)
    options = {"steps_per_rollout": 16, "epochs": 2, "minibatches_per_epoch": 4} | options
    return tasks.PPO(world, num_tasks=3, discount=0.9, gae_lambda=0.8, **options)


class Tabular(models.AbstractNetwork):
    """A policy and a value that are linear in the observation."""

    mean: jax.Array
    value: jax.Array
    log_std: jax.Array

    def __init__(self):
        self.mean = jnp.array([[0.1, -0.2, 0.05]])
        self.value = jnp.array([0.3, 0.7, -0.1])
        self.log_std = jnp.array([-0.5])

    def __call__(self, x):
        policy = models.GaussianPolicy(self.mean @ x, self.log_std)
        return models.PolicyAndValue(policy, self.value @ x), {}

    def units(self):
        return ()

    def fresh(self, *, key):
        return Tabular()
