"""A new environment: one file in `tasks/rl/environments/`, tested in `tests/tasks/`.

An environment obeys a parameter that `ChangingEnvironment` changes on a schedule. It does not reset
itself.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from spectral.tasks import AbstractEnvironment, ChangingEnvironment, Cycle, Step, TimeLimit


class Drift(AbstractEnvironment[Float[Array, ""]]):
    """A point on a line that drifts with the speed `parameter`. Rewards are minus its distance."""

    observation_size: int = eqx.field(static=True, default=1)
    action_size: int = eqx.field(static=True, default=1)
    discrete: bool = eqx.field(static=True, default=False)

    def reset(
        self, parameter: Float[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, " observation"]]:
        place = jax.random.normal(key)
        return place, place[None]

    def step(
        self,
        state: Float[Array, ""],
        action: Array,
        parameter: Float[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Any, Step]:
        place = state + parameter + action[0]
        never = jnp.asarray(False)
        return place, Step(place[None], -jnp.abs(place), terminated=never, truncated=never)


if __name__ == "__main__":
    limited = TimeLimit(Drift(), 10)
    world = ChangingEnvironment(limited, Cycle((0.1, 0.5)), steps_per_task=20)
    print(world.values(2, key=jax.random.key(0)))  # the speeds of the tasks, and one more
