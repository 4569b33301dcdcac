"""A network of action values: a copy of it, and how it acts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...._types import Aux, Learner
from ..._base._outputs import network_outputs


ActionValues = Float[Array, "examples actions"]


def action_values(
    model: Any,
    model_state: eqx.nn.State | None,
    observations: Float[Array, "examples ..."],
    num_actions: int,
    *,
    inference: bool,
    key: PRNGKeyArray | None,
) -> tuple[ActionValues, Aux]:
    """Returns the value of each action, and the activations of the network.

    **Raises:** `ValueError` if the network does not give one number for each action.
    """
    needed = (
        f"the environment takes one of {num_actions} actions: make a network with "
        f"`out_size={num_actions}`, such as `MLP(stream.in_size, stream.out_size)`."
    )
    return network_outputs(
        model, model_state, observations, (num_actions,), needed, inference=inference, key=key
    )


class ValueNetwork(eqx.Module):
    """A network of action values with its running statistics, in inference mode."""

    model: Any
    model_state: eqx.nn.State | None

    @classmethod
    def of(cls, learner: Learner) -> "ValueNetwork":
        """Returns the present network of a learner."""
        # A pass invalidates the state that it receives, so it is copied.
        return cls(learner.model, jax.tree.map(lambda x: x, learner.model_state))

    def __call__(
        self, observations: Float[Array, "examples ..."], num_actions: int
    ) -> ActionValues:
        """Returns the value of each action."""
        state = jax.tree.map(lambda x: x, self.model_state)
        arguments = (self.model, state, observations, num_actions)
        return action_values(*arguments, inference=True, key=None)[0]


class EpsilonGreedy(eqx.Module):
    """Takes the action of the largest value, or with probability `epsilon` any action."""

    network: ValueNetwork
    epsilon: Float[Array, ""]
    num_actions: int = eqx.field(static=True)

    def __call__(
        self, observations: Float[Array, "environments ..."], key: PRNGKeyArray
    ) -> Int[Array, " environments"]:
        """Returns an action for each environment."""
        best = jnp.argmax(self.network(observations, self.num_actions), axis=1)
        explore_key, action_key = jax.random.split(key)
        explores = jax.random.uniform(explore_key, best.shape) < self.epsilon
        anything = jax.random.randint(action_key, best.shape, 0, self.num_actions, best.dtype)
        return jnp.where(explores, anything, best)
