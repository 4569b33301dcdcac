"""The state of a stream in any task, from the key of the run."""

from typing import TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from ..._keys import derive, Role
from ..._types import Clock
from ._stream import AbstractTaskStream


State = TypeVar("State")


def begun_again(
    stream: AbstractTaskStream[State], state: State, task: Int[Array, ""], *, key: PRNGKeyArray
) -> State:
    """Returns what `begin_task` made of `task`, from a state of any task.

    This is the state of the task if `begin_task` reads only the clock, its key and what is constant
    in a run. `key` is the key of the run.
    """
    zero = jnp.asarray(0, int)
    steps = task * stream.chunks_per_task * stream.minibatches
    clock = Clock(step=steps, step_in_chunk=zero, chunk=zero, task=task)
    return stream.begin_task(state, clock, key=derive(key, Role.BEGIN_STREAM, task))
