"""Checks of a risk and its parameters when an operator is constructed."""

from typing import Any

import equinox as eqx
import jax
from jax.core import Tracer
from jaxtyping import PyTree

from ._batch_dependence import check_batch_independent
from ._held import Held
from ._parameters import split_parameters
from ._risk import Risk


def check_risk(risk: Any, params: PyTree) -> None:
    """Checks the targets and that the outputs of an example depend on this example alone.

    It needs values, so it does nothing under `jax.jit`, and nothing for a loss without a `Risk`.

    **Raises:** `ValueError` if the outputs do not have the form that `Risk` requires, if they
    depend on the division into batches without `batch_dependent`, if the targets do not fit the
    loss, or if no label counts.
    """
    if not isinstance(risk, Risk) or any(
        isinstance(leaf, Tracer) for leaf in jax.tree.leaves((risk, params))
    ):
        return
    if isinstance(risk.forward, Held):
        return  # a block of a matrix that has been checked
    model = eqx.combine(*split_parameters(params))
    one = eqx.filter_eval_shape(_of_the_first, risk, model)
    for targets in risk.examples.targets_in_turn():
        size = jax.tree.leaves(targets)[0].shape[0] if jax.tree.leaves(targets) else 1
        shape = lambda s, size=size: jax.ShapeDtypeStruct((size, *s.shape[1:]), s.dtype)
        risk.loss.check_targets(jax.tree.map(shape, one), targets)
    with jax.ensure_compile_time_eval():
        if not isinstance(risk.num_labels, int) and float(risk.num_labels) == 0:
            raise ValueError(
                "`targets` has no label that counts, but the mean must be over at least one: pass "
                "more data, or another `ignore_label`."
            )
    if not risk.batch_dependent:
        check_batch_independent(risk.forward, model, risk.examples.some_inputs())


@eqx.filter_jit  # traced once for risks of one structure
def _of_the_first(risk: Risk, model: PyTree) -> PyTree:
    """The outputs for the first example."""
    return risk.outputs(model, risk.one())
