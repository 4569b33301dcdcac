"""Whether a network gives what a stream asks of it."""

from typing import Any

import equinox as eqx


def check_outputs(outputs: Any, shape: tuple[int, ...], otherwise: str) -> None:
    """Refuse outputs for a batch that are no array, or one of another shape for each example.

    **Raises:** `ValueError` that says what they are, and ends with `otherwise`.
    """
    if not eqx.is_array(outputs) or outputs.shape[1:] != shape:
        what = f"shape {outputs.shape[1:]}" if eqx.is_array(outputs) else type(outputs).__name__
        raise ValueError(f"`model` gives outputs of {what} for one example, but {otherwise}")
