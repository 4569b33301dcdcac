"""A point mass under friction: a cheap environment whose optimal controller is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._environment import AbstractEnvironment, Step


class PointMass(AbstractEnvironment[Float[Array, "2"]]):
    """A force moves a mass on a line to the origin.

    With position x, velocity v, friction mu (the parameter) and force u, one step of length 0.1 is

        v <- v + 0.1 (u - mu v),    x <- x + 0.1 v,

    with the reward -(x^2 + 0.1 u^2) at the new position. An episode begins with x uniform on
    [-1, 1] and v = 0. The force is not limited, so that the best controller is linear and follows
    from a Riccati equation. Episodes do not end: wrap the environment in a `TimeLimit`.

    The observation is (x, v). It does not contain the friction.
    """

    observation_size: int = eqx.field(static=True, default=2, init=False)
    action_size: int = eqx.field(static=True, default=1, init=False)
    discrete: bool = eqx.field(static=True, default=False, init=False)

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        position = jax.random.uniform(key, minval=-1.0, maxval=1.0)
        state = jnp.stack([position, jnp.zeros_like(position)])
        return state, state

    def step(
        self,
        state: Float[Array, "2"],
        action: Float[Array, "1"],
        parameter: Float[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "2"], Step]:
        position, velocity = state
        velocity = velocity + 0.1 * (action[0] - parameter * velocity)
        position = position + 0.1 * velocity
        reward = -(position**2 + 0.1 * action[0] ** 2)
        state = jnp.stack([position, velocity])
        return state, Step(state, reward, jnp.asarray(False), jnp.asarray(False))
