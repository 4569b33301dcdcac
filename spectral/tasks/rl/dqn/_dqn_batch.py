"""The examples that a network of action values learns from."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._transition import Transition
from ._value_network import ValueNetwork


class DQNBatch(eqx.Module):
    """Observations, the actions that were taken, and the values that they should have."""

    observation: Float[Array, "examples ..."]
    action: Int[Array, " examples"]
    target: Float[Array, " examples"]


class ReplayItem(eqx.Module):
    """A minibatch of a chunk: which transitions. The rewards and discounts are here, so that an
    environment that fails is found in the data of its chunk."""

    index: Int[Array, "*minibatches examples"]
    reward: Float[Array, "*minibatches examples"]
    discount: Float[Array, "*minibatches examples"]

    @classmethod
    def of(
        cls, kept: Transition, index: Int[Array, "minibatches examples"], learns: Bool[Array, ""]
    ) -> "ReplayItem":
        """Returns the minibatches of these indices, whose numbers are 0 unless the chunk learns."""
        taken = lambda x: x[index]
        nothing = lambda x: jnp.zeros(index.shape, x.dtype)
        # A branch, because XLA joins a mere gather with the writes of new transitions, and then
        # copies the numbers of the whole replay in each chunk.
        numbers = lambda x: jax.lax.cond(learns, taken, nothing, x)
        return cls(index, numbers(kept.reward), numbers(kept.discount))

    def of_replay(self, kept: Transition) -> Transition:
        """Returns the transitions of the minibatch."""
        return replace(kept.take(self.index), reward=self.reward, discount=self.discount)


def with_targets(
    transitions: Transition,
    target: ValueNetwork,
    chooser: ValueNetwork | None,
    num_actions: int,
) -> DQNBatch:
    """Returns transitions as examples. The target is reward + discount max_a Q'(following, a) with
    the target network Q' (Mnih et al., 2015).

    With a `chooser` Q it is reward + discount Q'(following, argmax_a Q(following, a)), the target
    of double DQN (van Hasselt et al., 2016).
    """
    following = transitions.following.astype(float)
    values = target(following, num_actions)
    deciding = values if chooser is None else chooser(following, num_actions)
    best = jnp.argmax(deciding, axis=1)[:, None]
    later = jnp.take_along_axis(values, best, axis=1)[:, 0]
    return DQNBatch(
        observation=transitions.observation.astype(float),
        action=transitions.action,
        target=transitions.reward + transitions.discount * later,
    )
