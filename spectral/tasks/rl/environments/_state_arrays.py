"""States of environments as arrays of constant type.

Environments of other packages keep Python numbers in their states, or change the type of an array
in a step. A loop needs states of one type.
"""

from typing import Any

import jax
import jax.numpy as jnp


def as_arrays(state: Any) -> Any:
    """Returns a state whose Python numbers are arrays."""
    return jax.tree.map(jnp.asarray, state)


def with_types_of(state: Any, like: Any) -> Any:
    """Returns `state` with the data types of `like`, another state of the same environment."""
    return jax.tree.map(lambda x, old: jnp.asarray(x, old.dtype), state, like)
