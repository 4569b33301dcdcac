"""Random keys: each is a function of the key of the run, a role, and indices."""

import enum

import jax
from jaxtyping import Array, Integer, PRNGKeyArray


class Role(enum.IntEnum):
    """The purpose of a key. Every draw is a function of (key of the run, role, task, index)."""

    INIT_ALGORITHM = 0
    INIT_STREAM = 1
    BEGIN_STREAM = 2
    BEGIN_ALGORITHM = 3
    COLLECT = 4
    FORWARD = 5
    UPDATE = 6
    EVALUATE = 7
    PROBE = 8
    SAMPLE = 9
    PENALTY = 10
    REFERENCE = 11
    BRANCH = 12
    CALIBRATE = 13


# Keys are first folded with this constant. `jax.random.split(key)` and `fold_in(key, i)` give the
# same keys for small i, so a user who splits the key of the run would otherwise draw our numbers.
_OURS = 0x5EC7_2A1F


def derive(key: PRNGKeyArray, role: Role, *indices: Integer[Array, ""] | int) -> PRNGKeyArray:
    """The key for one role and its indices. All calls for a role pass equally many indices."""
    for index in (_OURS, role, *indices):
        key = jax.random.fold_in(key, index)
    return key
