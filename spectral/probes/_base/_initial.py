"""The network with which a run began, for probes that compare with it."""

from typing import Any

from jaxtyping import PyTree


def check_initial(probe: Any, initial: PyTree) -> None:
    """**Raises:** `ValueError` if a probe does not know the network with which the run began."""
    if initial is None:
        raise ValueError(
            f"`initial` is None, but `{type(probe).__name__}` compares with the network with which "
            "the run began: pass the probe to `train_continual`, or that network."
        )
