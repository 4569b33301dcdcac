"""What a run remembers of numbers that are not finite, and what follows from it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._history import History
from ._types import Learner


class Divergence(eqx.Module):
    """Where a loss or weight was first not finite."""

    step: Int[Array, ""]  # of the whole run; -1 while all is well
    # Where it was seen first: in the loss if in neither of these.
    in_weights: Bool[Array, ""]
    in_data: Bool[Array, ""]  # what was collected, before it was learnt from

    @classmethod
    def none(cls) -> "Divergence":
        """All is well."""
        return cls(jnp.array(-1), jnp.array(False), jnp.array(False))

    @property
    def found(self) -> Bool[Array, ""]:
        """Whether the run has diverged."""
        return self.step >= 0

    @property
    def everywhere(self) -> Bool[Array, ""]:
        """Whether there is nothing left to train: under vmap, whether all members have diverged, so
        that a branch on it stays one."""
        return _all(self.found)

    def watch(
        self,
        model: PyTree,
        losses: Float[Array, " steps"],
        used: Bool[Array, " steps"],
        first: Int[Array, ""],
        items: PyTree,
    ) -> "Divergence":
        """After a chunk of minibatches `items`, of which those `used` counted, whose first step was
        `first`; the weights are looked at once."""
        bad, bad_weights = used & ~jnp.isfinite(losses), ~_finite(model)
        last = first + jnp.sum(used) - 1
        step = jnp.where(bad.any(), first + jnp.argmax(bad), jnp.where(bad_weights, last, -1))
        in_data = jax.lax.cond(step < 0, lambda: False, lambda: ~_finite(items))
        in_weights = bad_weights & ~bad.any() & ~in_data
        now = Divergence(step.astype(self.step.dtype), in_weights, in_data)
        return jax.tree.map(lambda new, old: jnp.where(self.found, old, new), now, self)


class Diverged(FloatingPointError):
    """A loss or weight that is not finite.

    `task` and `step` (of the whole run) say where it appeared, `what` whether in the loss, in the
    weights, or in the data: what was collected for the steps around this one, such as a rollout,
    before it was learnt from. `history` holds the rows recorded so far, with NaN from the
    divergence on, and `learner` the weights as they are.
    """

    def __init__(self, task: int, step: int, what: str, learner: Learner, history: History):
        mend = "lower the learning rate, or look at the data of that task"
        if what == "data":
            mend = (
                "they were so before they were learnt from. Look at the data of that task or the "
                "environment; where the network takes part in collecting them, lower the "
                "learning rate"
            )
        super().__init__(
            f"The {what} became non-finite in task {task} at step {step}: {mend}. `.history` and "
            "`.learner` of this exception hold what was recorded."
        )
        self.task, self.step, self.what = task, step, what
        self.learner, self.history = learner, history


def place(in_data: Any, in_weights: Any) -> str:
    """Where it was seen first, in a word: the `what` of `Diverged`."""
    return "data" if in_data else "weights" if in_weights else "loss"


def void(row: dict[str, Array], diverged: Bool[Array, ""]) -> dict[str, Array]:
    """NaN in place of numbers that come after a divergence, so that no mean can hide it."""
    return {k: jnp.where(diverged, jnp.nan, jnp.asarray(v, float)) for k, v in row.items()}


@jax.custom_batching.custom_vmap
def _all(members: Bool[Array, ""]) -> Bool[Array, ""]:
    return members


@_all.def_vmap
def _all_of_many(axis_size: int, in_batched: list[bool], members: Any) -> Any:
    del axis_size, in_batched  # the one argument is batched, or this would not be called
    return jnp.all(members, axis=0), False


def _finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return jnp.stack([jnp.array(True), *(jnp.isfinite(leaf).all() for leaf in leaves)]).all()
