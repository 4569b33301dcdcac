"""Detection of losses and weights that are not finite, and the error that reports them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._history import History
from ._types import Learner


class Divergence(eqx.Module):
    """The first step at which a loss or weight was not finite."""

    step: Int[Array, ""]  # of the whole run; -1 as long as everything is finite
    # The value that was not finite: weights, collected data, or the loss if neither is marked.
    in_weights: Bool[Array, ""]
    in_data: Bool[Array, ""]  # data of the chunk, such as a rollout, before training on them

    @classmethod
    def none(cls) -> "Divergence":
        """The record of a run that has not diverged."""
        return cls(jnp.array(-1), jnp.array(False), jnp.array(False))

    @property
    def found(self) -> Bool[Array, ""]:
        """Whether the run has diverged."""
        return self.step >= 0

    @property
    def everywhere(self) -> Bool[Array, ""]:
        """Whether all members of an ensemble have diverged; of a single run, whether it has.

        This is the same value for all members under `jax.vmap`, so a branch on it stays a branch.
        """
        return _all(self.found)

    def watch(
        self,
        model: PyTree,
        losses: Float[Array, " steps"],
        used: Bool[Array, " steps"],
        first: Int[Array, ""],
        items: PyTree,
    ) -> "Divergence":
        """Update after a chunk: `items` are its minibatches, `used` marks those that were trained
        on, `first` is the step of the first one. Weights are checked once per chunk."""
        bad, bad_weights = used & ~jnp.isfinite(losses), ~_finite(model)
        last = first + jnp.sum(used) - 1
        step = jnp.where(bad.any(), first + jnp.argmax(bad), jnp.where(bad_weights, last, -1))
        in_data = jax.lax.cond(step < 0, lambda: False, lambda: ~_finite(items))
        in_weights = bad_weights & ~bad.any() & ~in_data
        now = Divergence(step.astype(self.step.dtype), in_weights, in_data)
        return jax.tree.map(lambda new, old: jnp.where(self.found, old, new), now, self)


class Diverged(FloatingPointError):
    """A loss or weight is not finite.

    `task` and `step` (of the whole run) say where this was seen first. `what` is `"loss"`,
    `"weights"`, or `"data"` if the data of the chunk, such as a rollout, were not finite before
    training on them. `history` holds the rows recorded so far, with NaN from the divergence, and
    `learner` the present weights.
    """

    def __init__(self, task: int, step: int, what: str, learner: Learner, history: History):
        advice = "lower the learning rate, or check the data of that task"
        if what == "data":
            advice = (
                "they were not finite before training on them. Check the data of that task or the "
                "environment; if the network collects them, lower the learning rate"
            )
        super().__init__(
            f"The {what} became non-finite in task {task} at step {step}: {advice}. The "
            "attributes `.history` and `.learner` of this exception hold what was recorded."
        )
        self.task, self.step, self.what = task, step, what
        self.learner, self.history = learner, history


def place(in_data: Any, in_weights: Any) -> str:
    """The `what` of `Diverged`, from the marks of a `Divergence`."""
    return "data" if in_data else "weights" if in_weights else "loss"


def void(row: dict[str, Array], diverged: Bool[Array, ""]) -> dict[str, Array]:
    """The row with NaN in place of its numbers if the run has diverged, so that no mean hides
    it."""
    return {k: jnp.where(diverged, jnp.nan, jnp.asarray(v, float)) for k, v in row.items()}


@jax.custom_batching.custom_vmap
def _all(members: Bool[Array, ""]) -> Bool[Array, ""]:
    return members


@_all.def_vmap
def _all_of_many(axis_size: int, in_batched: list[bool], members: Any) -> Any:
    del axis_size, in_batched  # this is called only if the one argument is batched
    return jnp.all(members, axis=0), False


def _finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return jnp.stack([jnp.array(True), *(jnp.isfinite(leaf).all() for leaf in leaves)]).all()
