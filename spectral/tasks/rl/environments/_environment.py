"""What reinforcement learning asks of an environment."""

from abc import abstractmethod
from typing import Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


State = TypeVar("State")


class Step(eqx.Module):
    """What one step of an environment shows.

    `terminated` says that the episode has ended and nothing follows; `truncated`, that it was cut
    off (by a limit of time, say) where more would have followed: its return is then estimated from
    the value of `observation`, which in either case is the last of this episode.
    """

    observation: Float[Array, " observation"] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    reward: Float[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    terminated: Bool[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, bool))
    truncated: Bool[Array, ""] = eqx.field(converter=lambda x: jnp.asarray(x, bool))


class AbstractEnvironment(eqx.Module, Generic[State]):
    """One environment, whose laws depend on one number.

    That number, `parameter` (a friction, a factor on gravity, ...), is an argument of every step
    and is traced: it may change in the middle of an episode and compiles nothing anew. Both methods
    are pure functions for one environment, which are mapped over several. An environment never
    begins anew by itself; whoever plays calls `reset` with a new key.

    `action_size` is the number of components of an action, or of the actions to choose from if the
    environment is `discrete`. Actions are `[action_size]` numbers, or one integer.

    ```python
    class Walk(tasks.AbstractEnvironment):  # to the right or left, on ground that slopes
        observation_size: int = 1
        action_size: int = 2
        discrete: bool = True

        def reset(self, parameter, *, key):
            place = jax.random.uniform(key)
            return place, place[None]

        def step(self, state, action, parameter, *, key):
            place = state + 2.0 * action - 1 - parameter
            return place, tasks.Step(place[None], place, jnp.abs(place) > 10, False)

    world = tasks.ChangingEnvironment(tasks.TimeLimit(Walk(), 50), tasks.LogUniform(), 2048)
    walking = tasks.PPO(world, num_tasks=2)
    ```
    """

    observation_size: eqx.AbstractVar[int]
    action_size: eqx.AbstractVar[int]
    discrete: eqx.AbstractVar[bool]

    @abstractmethod
    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[State, Float[Array, " observation"]]:
        """A new episode: its state and first observation."""

    @abstractmethod
    def step(
        self, state: State, action: Array, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[State, Step]:
        """The state after an action, and what is seen of it."""
