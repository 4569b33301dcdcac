"""The columns of a probe that a network cannot answer."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def unanswered(probe: Any, reason: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Returns NaN for each column of a probe that cannot measure this network, and logs why.

    A number such as 0 would say that the network was measured. Each reason is logged once for each
    kind of probe, by the logger `spectral`.

    ```python
    from spectral.probes import unanswered

    unanswered(probe=None, reason="the network has no units", shapes={"fraction": ()})
    ```

    **Arguments:**

    - `probe`: the probe, whose class the log names.
    - `reason`: a clause that says what is missing.
    - `shapes`: the shape of each column for one task.
    """
    _log(type(probe).__name__, reason)
    return {name: jnp.full(shape, jnp.nan) for name, shape in shapes.items()}


@functools.cache  # Log once, even if many runs have the same reason.
def _log(name: str, reason: str) -> None:
    logging.getLogger("spectral").warning("`%s` records NaN: %s.", name, reason)
