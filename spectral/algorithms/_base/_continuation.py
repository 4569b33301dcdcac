"""What an algorithm takes over from an earlier run."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..._base._optimiser import Optimiser


def take_over(fresh: Optimiser, earlier: Optimiser) -> Optimiser:
    """The optimiser `fresh`, initialised for the model, with the state of `earlier`.

    **Raises:** `ValueError` if the states differ in their structure.
    """
    if not same_layout(fresh.state, earlier.state):
        raise ValueError(
            f"`model` was trained with {_described(earlier)}, which does not fit "
            f"{_described(fresh)} of `algo`: pass an algorithm with the same optimiser, or "
            "`learner.model` with `model_state=learner.model_state` to start a new one."
        )
    return eqx.tree_at(lambda o: o.state, fresh, earlier.state)


def _described(optimiser: Optimiser) -> str:
    name = getattr(optimiser.make, "__name__", "optax transformation")
    count = len(jax.tree.leaves(optimiser.state))
    return f"the optimiser `{name}` ({count} array{'' if count == 1 else 's'} of state)"


def same_layout(a: PyTree, b: PyTree) -> bool:
    """Whether two pytrees have the same structure, and arrays of the same shapes and types."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return all(_kind(x) == _kind(y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def _kind(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf
