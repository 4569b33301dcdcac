"""Uniform replay of transitions."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._transition import PlayedSteps, Transition, transitions_from


class Replay(eqx.Module):
    """The last transitions, in a ring. A new transition replaces the oldest one of a full ring.

    A transition of n steps is complete n - 1 steps after its action. Until then its steps wait in
    `pending`, the last n - 1 steps that were played, of which the last `num_pending` are real.
    """

    transitions: Transition  # [capacity, ...]
    head: Int[Array, ""]  # where the next transition goes
    size: Int[Array, ""]  # the transitions at 0, 1, ..., size - 1 are real
    pending: PlayedSteps  # [n - 1, environments, ...]
    num_pending: Int[Array, ""]

    @classmethod
    def empty(
        cls,
        capacity: int,
        observation: jax.ShapeDtypeStruct,
        *,
        num_environments: int,
        steps_per_return: int,
    ) -> "Replay":
        """Returns a replay without transitions. `observation` is one observation as it is kept."""
        zero = jnp.asarray(0)
        pending = PlayedSteps.empty(steps_per_return - 1, num_environments, observation)
        return cls(Transition.empty(capacity, observation), zero, zero, pending, zero)

    @property
    def capacity(self) -> int:
        """The largest number of transitions."""
        return self.transitions.action.shape[0]

    def including(self, steps: PlayedSteps, *, discount: float | Float[Array, ""]) -> "Replay":
        """Returns the replay after more steps of the same environments."""
        num_pending = self.pending.reward.shape[0]
        num_steps, num_environments = steps.reward.shape
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self.pending, steps)
        new = transitions_from(joined, num_pending + 1, discount=discount)
        # Those that begin before the first real step come first. They are put last, where the
        # next transitions replace them.
        void = jnp.minimum(num_pending - self.num_pending, num_steps) * num_environments
        count = num_steps * num_environments
        index = (self.head + (jnp.arange(count) - void) % count) % self.capacity
        # Rows are written one by one. A scatter of one row is slower on CPU, where XLA checks its
        # index and reads the old row.
        update = jax.lax.dynamic_update_index_in_dim

        def put(i: Int[Array, ""], kept: Transition) -> Transition:
            row = lambda old, x: update(old, x[i].astype(old.dtype), index[i], axis=0)
            return jax.tree.map(row, kept, new)

        return Replay(
            transitions=jax.lax.fori_loop(0, count, put, self.transitions),
            head=(self.head + count - void) % self.capacity,
            size=jnp.minimum(self.size + count - void, self.capacity),
            pending=jax.tree.map(lambda x: x[num_steps:], joined),
            num_pending=jnp.minimum(self.num_pending + num_steps, num_pending),
        )

    def draw(self, *shape: int, key: PRNGKeyArray) -> Int[Array, "..."]:
        """Returns indices of transitions, each with the same probability, with replacement."""
        return jax.random.randint(key, shape, 0, jnp.maximum(self.size, 1))

    def thinned(self, fraction: Float[Array, ""], *, key: PRNGKeyArray) -> "Replay":
        """Returns a replay that keeps this fraction of its transitions, drawn at random, in their
        order. With a fraction of 0 no step waits either, so that nothing of the past returns."""
        kept = jnp.floor(fraction * self.size + 0.5).astype(self.size.dtype)
        slots = jnp.arange(self.capacity)
        drawn = jnp.where(slots < self.size, jax.random.uniform(key, (self.capacity,)), jnp.inf)
        stays = jnp.zeros(self.capacity, bool).at[jnp.argsort(drawn)].set(slots < kept)
        age = jnp.where(self.size < self.capacity, slots, (slots - self.head) % self.capacity)
        order = jnp.argsort(jnp.where(stays, age, self.capacity))
        return Replay(
            transitions=self.transitions.take(order),
            head=kept % self.capacity,
            size=kept,
            pending=self.pending,
            num_pending=jnp.where(fraction > 0, self.num_pending, 0),
        )
