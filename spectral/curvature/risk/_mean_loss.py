"""The mean loss over examples that are not in one memory, and its gradient."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._precision import in_single
from ._loss import AbstractLoss
from .examples._example_batch import ExampleBatch
from .examples._examples import AbstractExamples


@eqx.filter_custom_jvp
def mean_loss(varied: PyTree, risk: Any) -> Float[Array, ""]:
    """The mean loss of a risk whose examples are not in one place; `varied` are its forward and
    loss, and the model."""
    model = varied[2]
    risk = eqx.tree_at(lambda r: (r.forward, r.loss), risk, varied[:2])
    return risk.accumulate(lambda batch: risk.value(model, batch))


@mean_loss.def_jvp
def _mean_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # The gradient of each batch is taken as it passes. The transpose of a loop over batches would
    # keep all of them, and would take them in reverse.
    (varied, risk), (changes, others) = primals, tangents
    if jax.tree.leaves((others.examples, others.counted)):
        raise ValueError(
            "`risk` is differentiated in its examples or in the weights of its labels, which works "
            "only for arrays in memory: pass `inputs` and `targets` to `Risk`."
        )
    moves = jax.tree.map(lambda _, change: change is not None, varied, changes)
    moving, still = eqx.partition(varied, moves)

    def of_batch(batch: ExampleBatch) -> tuple[Array, PyTree]:
        def value(moving: PyTree) -> Float[Array, ""]:
            forward, loss, model = eqx.combine(moving, still)
            own = eqx.tree_at(lambda r: (r.forward, r.loss), risk, (forward, loss))
            return own.value(model, batch)

        return jax.value_and_grad(value)(moving)

    value, gradient = risk.accumulate(of_batch)
    inner = lambda g, t: jnp.sum(in_single(g) * in_single(t)).astype(value.dtype)
    return value, jax.tree.reduce(jnp.add, jax.tree.map(inner, gradient, changes))


def num_counted(loss: AbstractLoss, examples: AbstractExamples) -> Array | None:
    """The number of labels that count, or the sum of their weights; `None` if all examples have
    one."""
    counts = (loss.counts(targets) for targets in examples.targets_in_turn())
    if (first := next(counts)) is None:
        return None
    return sum((jnp.sum(c) for c in counts if c is not None), jnp.sum(first))
