"""What streams of rollouts share."""

from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..._base._stream import AbstractTaskStream
from ..environments._changing_environment import ChangingEnvironment
from ._rollout import begin


State = TypeVar("State")


class AbstractRolloutStream(AbstractTaskStream[State]):
    """A stream whose chunks are played in an environment that changes.

    - `world`: the environment and its changes.
    - `num_environments`: the number of environments that are played in parallel.
    """

    outcome_metric: ClassVar[str | None] = "evaluation_return"
    world: eqx.AbstractVar[ChangingEnvironment]
    num_environments: eqx.AbstractVar[int]

    @property
    def in_size(self) -> int:
        """The number of entries of an observation."""
        return self.world.environment.observation_size

    @property
    def out_size(self) -> int:
        """The number of components of an action, or of discrete actions."""
        return self.world.environment.action_size

    def begun(self, *, key: PRNGKeyArray) -> tuple[Float[Array, " tasks"], Any]:
        """Returns the parameters of the tasks, and the environments before the first step."""
        schedule_key, environment_key = jax.random.split(key)
        values = self.world.values(self.num_tasks, key=schedule_key)
        return values, begin(self.world, values, self.num_environments, key=environment_key)
