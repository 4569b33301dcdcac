"""What a text about a spectrum says."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def spectrum_facts(spectrum: Any) -> dict[str, int | str] | None:
    """The sizes of a spectrum and its smallest and largest eigenvalue, by name; `None` while it is
    traced or has no numbers."""
    leaves = jax.tree.leaves(spectrum)
    if not all(isinstance(x, jax.Array | np.ndarray) and not isinstance(x, Tracer) for x in leaves):
        return None
    vectors, nodes = spectrum.quadrature()[0].shape
    smallest, largest = (f"{float(value):.4g}" for value in spectrum.range())
    return {
        "dim": spectrum.dim,
        "vectors": vectors,
        "nodes": nodes,
        "smallest": smallest,
        "largest": largest,
    }
