"""The Jacobian of a network's outputs in its parameters."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..risk._parameters import split_parameters
from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch


class Linearised(eqx.Module):
    """The outputs of a network for one batch, and their Jacobian J in the parameters."""

    outputs: PyTree
    push: Callable[[PyTree], PyTree]  # v -> J v
    params: PyTree

    def pull(self) -> Callable[[PyTree], PyTree]:
        """The map t -> J^T t."""
        transposed = jax.linear_transpose(self.push, self.params)
        return lambda tangent: transposed(tangent)[0]


def linearise(risk: Risk, params: PyTree, batch: ExampleBatch) -> Linearised:
    """Evaluates the network once; the result serves both J and its transpose."""
    dynamic, constants = split_parameters(params)
    outputs, push = jax.linearize(lambda p: risk.outputs(eqx.combine(p, constants), batch), dynamic)
    return Linearised(outputs, push, dynamic)
