"""Networks without the blocks that these probes measure."""

from typing import Any

from ...models import AbstractTransformer


def objection_to(model: Any) -> str | None:
    """Why a network has no blocks to measure; `None` for a transformer of this library."""
    if isinstance(model, AbstractTransformer):
        return None
    name = type(model).__name__
    return f"it measures the blocks of a `GPT` or a `ViT`, and the network is of type {name}"
