"""Which key each part of a run is given."""

import enum

import jax
from jaxtyping import Array, Integer, PRNGKeyArray


class Role(enum.IntEnum):
    """What a key is for: every draw is a function of (key of the run, role, task, index)."""

    INIT_ALGORITHM = 0
    INIT_STREAM = 1
    BEGIN_STREAM = 2
    BEGIN_ALGORITHM = 3
    COLLECT = 4
    FORWARD = 5
    UPDATE = 6
    EVALUATE = 7
    PROBE = 8


# Folded in first: `jax.random.split(key)` and `fold_in(key, i)` give the same keys for small i, and
# a user who initialises a network from the key of the run must not draw the same numbers again.
_OURS = 0x5EC7_2A1F


def derive(key: PRNGKeyArray, role: Role, *indices: Integer[Array, ""] | int) -> PRNGKeyArray:
    """The key of the run for one role and index; all calls have their role's number of indices."""
    for index in (_OURS, role, *indices):
        key = jax.random.fold_in(key, index)
    return key
