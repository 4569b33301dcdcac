"""An environment whose every number can be written down by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import models, tasks


class Counting(tasks.AbstractEnvironment):
    """Counts the steps of an episode. A tag that is drawn for the episode says how it ends: below
    1/2 it terminates after 3 steps, above it is cut off after 4.

    Observation (count, tag, parameter), reward count + action.
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
