"""Members of a list of tasks that a run never comes to."""

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from ._no_fresh_task import NoFreshTaskError


def unused(name: str, total: int, num_tasks: int, key: PRNGKeyArray) -> Int[Array, ""]:
    """Returns a random index of a member of `name` that none of `num_tasks` tasks uses, where the
    tasks take the `total` members in turn.

    **Raises:** `NoFreshTaskError` if the tasks use all.
    """
    if num_tasks >= total:
        raise NoFreshTaskError(
            f"`{name}` has {total} members and `num_tasks` is {num_tasks}, so that the run uses "
            "all of them, and no task is known that it will not see: pass more of them than tasks. "
            "The run uses the first ones, and fresh tasks the others."
        )
    return jax.random.randint(key, (), num_tasks, total)
