"""A task that `begin_task` draws with another key."""

from dataclasses import replace
from typing import TypeVar

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..._types import Clock
from ._stream import AbstractTaskStream


State = TypeVar("State")


def drawn_task(
    stream: AbstractTaskStream[State], state: State, clock: Clock, *, key: PRNGKeyArray
) -> State:
    """Returns what `begin_task` makes of the next task with this key.

    Some streams leave the first task of a run as it is. So the task is drawn as a later one.
    """
    later = replace(clock, task=jnp.maximum(clock.task, 1))
    return stream.begin_task(state, later, key=key)
