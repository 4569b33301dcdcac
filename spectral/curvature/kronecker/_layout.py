"""The structure of vectors, as a part of the program."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


class Layout(eqx.Module):
    """The shapes and dtypes of a pytree of arrays. It has no leaves.

    A `jax.ShapeDtypeStruct` is a leaf that is not an array, so an operator that held a pytree of
    them could not be passed to `jax.jit` or saved.
    """

    leaves: tuple[jax.ShapeDtypeStruct, ...] = eqx.field(static=True)
    treedef: Any = eqx.field(static=True)

    def __init__(self, structure: PyTree[jax.ShapeDtypeStruct]):
        leaves, self.treedef = jax.tree.flatten(structure)
        self.leaves = tuple(leaves)

    @property
    def structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The pytree itself."""
        return self.treedef.unflatten(self.leaves)
