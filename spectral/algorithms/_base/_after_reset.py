"""What is remembered for each array of the parameters, after some of them have been reset."""

from typing import TypeVar

import jax
from jaxtyping import PyTree


Memory = TypeVar("Memory", bound=PyTree)


def where_reset(reset: PyTree[bool], new: Memory, old: Memory) -> Memory:
    """Returns `new` for the parameters that `reset` marks, and `old` for the others. All have one
    entry for each parameter, in their order."""
    marks, structure = jax.tree.leaves(reset), jax.tree.structure(old)
    pairs = zip(marks, jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    return jax.tree.unflatten(structure, [n if mark else o for mark, n, o in pairs])
