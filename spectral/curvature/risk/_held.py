"""A risk as a function of some of its parameters."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import PyTree

from ._parameters import split_parameters
from ._risk import Risk


def hold(risk: Risk, params: PyTree, kept: PyTree[bool]) -> tuple[Risk, PyTree]:
    """The same risk as a function of the marked parameters only; the others are held constant."""
    parameters, constants = split_parameters(params)
    own, others = eqx.partition(parameters, kept)
    forward = Held(risk.forward, eqx.combine(others, constants))
    return eqx.tree_at(lambda r: r.forward, risk, forward), own


class Held(eqx.Module):
    forward: Callable[[PyTree, PyTree], PyTree]
    others: PyTree

    def __call__(self, model: PyTree, inputs: PyTree) -> PyTree:
        return self.forward(eqx.combine(model, self.others), inputs)
