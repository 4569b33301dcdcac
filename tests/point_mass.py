"""A rollout stream: a point mass under friction, which changes, and a clipped policy gradient."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from spectral import Chunk
from spectral.models import AbstractNetwork, apply_network, MLP
from spectral.tasks import AbstractTaskStream


class ActorCriticNetwork(AbstractNetwork):
    """Outputs (mean of the action, value)."""

    body: MLP

    def __call__(self, x, /):
        return self.body(x)

    def units(self):
        return tuple(
            eqx.tree_at(
                lambda g: (g.incoming, g.bias, g.outgoing),
                group,
                tuple(
                    tuple(type(e)(lambda m, e=e: e.where(m.body), e.axis) for e in entries)
                    for entries in (group.incoming, group.bias, group.outgoing)
                ),
            )
            for group in self.body.units()
        )

    def fresh(self, *, key):
        return ActorCriticNetwork(self.body.fresh(key=key))


class Rollout(eqx.Module):
    observation: jax.Array
    action: jax.Array
    log_probability: jax.Array
    reward_to_go: jax.Array


class World(eqx.Module):
    mass: jax.Array  # position and velocity
    friction: jax.Array


def push(world: World, action: jax.Array) -> tuple[World, jax.Array]:
    """One step of the mass; the reward is minus its distance from the origin."""
    position, velocity = world.mass
    velocity = (1 - world.friction) * velocity + 0.1 * jnp.clip(action, -1, 1)
    position = position + 0.1 * velocity
    return World(jnp.stack([position, velocity]), world.friction), -jnp.abs(position)


def log_probability(mean: jax.Array, action: jax.Array) -> jax.Array:
    return -2 * (action - mean) ** 2  # standard deviation 1/2


class PointMass(AbstractTaskStream[World]):
    num_tasks: int = eqx.field(static=True, default=3)
    chunks_per_task: int = eqx.field(static=True, default=2)
    minibatches: int = eqx.field(static=True, default=8)  # 2 epochs of 4
    examples: int = eqx.field(static=True, default=4)

    def init(self, *, key):
        return World(jax.random.normal(key, (2,)), jnp.asarray(0.0))

    def begin_task(self, state, clock, *, key):
        return World(state.mass, jax.random.uniform(key))

    def play(self, world, learner, steps, *, key, noise):
        def act(world, key):
            (mean, _), _ = learner.model(world.mass)
            action = mean + noise * jax.random.normal(key)
            after, reward = push(world, action)
            return after, (world.mass, action, log_probability(mean, action), reward)

        return jax.lax.scan(act, world, jax.random.split(key, steps))

    def collect(self, state, learner, clock, *, key):
        play_key, order_key = jax.random.split(key)
        steps = self.examples * 4
        state, (seen, actions, logs, rewards) = self.play(
            state, learner, steps, key=play_key, noise=0.5
        )
        discount = lambda g, r: (0.9 * g + r, 0.9 * g + r)
        togo = jax.lax.scan(discount, jnp.zeros(()), rewards, reverse=True)[1]
        rollout = Rollout(seen, actions, logs, togo)
        keys = jax.random.split(order_key, 2)
        order = jax.vmap(lambda k: jax.random.permutation(k, steps))(keys)
        order = order.reshape(self.minibatches, self.examples)
        return state, Chunk(jax.tree.map(lambda x: x[order], rollout)), {"return": rewards.sum()}

    def batch(self, state, item):
        return item

    def forward(self, model, model_state, batch, *, key, inference):
        return apply_network(model, model_state, batch.observation, inference=inference)

    def criterion(self, outputs, batch):
        mean, value = outputs[:, 0], outputs[:, 1]
        advantage = batch.reward_to_go - jax.lax.stop_gradient(value)
        ratio = jnp.exp(log_probability(mean, batch.action) - batch.log_probability)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
        value_loss = jnp.mean((value - batch.reward_to_go) ** 2)
        return value_loss - jnp.mean(gain), {"value_loss": value_loss}

    def sample(self, state, learner, n, split, *, key):
        _, (seen, actions, logs, rewards) = self.play(state, learner, n, key=key, noise=0.5)
        return Rollout(seen, actions, logs, rewards)

    def evaluate(self, state, learner, *, key):
        world = World(jax.random.normal(key, (2,)), state.friction)
        _, (_, _, _, rewards) = self.play(world, learner, 10, key=key, noise=0.0)
        return {"evaluation_return": rewards.sum()}


def actor_critic(*, key: Any) -> ActorCriticNetwork:
    return ActorCriticNetwork(MLP(2, 2, width=4, depth=1, key=key))
