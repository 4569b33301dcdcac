"""How much a network overestimates the values of its actions."""

from dataclasses import KW_ONLY
from typing import Any, cast

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ..._arguments import as_int, check_count, check_kind
from ..._base._quantity import Quantity
from ..._types import Learner
from ...tasks import AbstractTaskStream, DQN, greedy_values
from .._base._probe import AbstractProbe, When


class Overestimation(AbstractProbe):
    """Records the value of the greedy action against the discounted return that follows it (van
    Hasselt et al., 2016), in a stream of `DQN`.

    The policy without exploration plays `num_steps` steps in each of `num_environments` separate
    environments with the parameter of the task. The columns are means over all steps:

    - `value`: of the greedy action.
    - `following`: the discounted sum of the rewards that follow.
    - `overestimation`: `value` - `following`.
    - `bootstrapped`: the weight in `following` of the network's own value, which estimates the
        rest of an episode that is cut off. With 0 `following` is what happened, and with 1 it is
        the network's own estimate. Raise `num_steps` to lower it, as far as no time limit cuts the
        episodes off.

    ```python
    measured = {"values": probes.Overestimation(num_environments=4, num_steps=500)}
    ```

    **Raises:** `ValueError` for a number below one; before a run, `TypeError` if the stream is not
    a `DQN`.
    """

    _: KW_ONLY
    num_environments: int = eqx.field(static=True, default=4, converter=as_int)
    num_steps: int = eqx.field(static=True, default=1000, converter=as_int)
    when: tuple[When, ...] = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1, converter=as_int)

    def __check_init__(self):
        check_count("num_environments", self.num_environments)
        check_count("num_steps", self.num_steps)

    def __call__(
        self, learner: Learner, stream: AbstractTaskStream, stream_state: Any, *, key: PRNGKeyArray
    ) -> dict[str, Array]:
        check_kind("stream", stream, DQN, "tasks.DQN(world)")
        sizes, dqn = (self.num_environments, self.num_steps), cast(DQN, stream)
        found = greedy_values(dqn, stream_state, learner, *sizes, key=key)
        value, following = jnp.mean(found.value), jnp.mean(found.following)
        return {
            "value": value,
            "following": following,
            "overestimation": value - following,
            "bootstrapped": jnp.mean(found.bootstrapped),
        }

    def quantities(self) -> dict[str, Quantity]:
        return {
            "overestimation": Quantity("overestimation of values", figure="values"),
            "value": Quantity("value of the greedy action", figure="values"),
            "following": Quantity("discounted return", figure="values"),
            "bootstrapped": Quantity(
                "weight of the network's own value", limits=(0.0, 1.0), figure="values"
            ),
        }
