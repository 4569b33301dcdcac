"""What probes record in a stream that has no fresh tasks."""

import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ...tasks import NoFreshTaskError


def without_fresh_tasks(
    probe: Any, columns: Mapping[str, tuple[int, ...]], error: NoFreshTaskError
) -> dict[str, Array]:
    """Returns NaN for columns of these shapes, and warns with the reason while the program of the
    probe is made, so once for each program."""
    warnings.warn(f"{type(probe).__name__} records NaN: {error}", stacklevel=2)
    return {name: jnp.full(shape, jnp.nan) for name, shape in columns.items()}
