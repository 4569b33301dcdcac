"""Products with the Gauss-Newton and the Fisher matrices."""

from collections.abc import Callable

import jax
from jaxtyping import Array, PyTree

from ..risk._risk import Risk
from ..risk.examples._example_batch import ExampleBatch
from ._linearised import linearise
from ._output_factor import AbstractOutputFactor


def factored_product(
    risk: Risk, params: PyTree, factor: AbstractOutputFactor
) -> Callable[[PyTree], PyTree]:
    """The map v -> mean over examples of J^T S S^T J v.

    J is the Jacobian of the outputs of one example in the parameters, and S is its output factor.
    """

    def of_batch(batch: ExampleBatch) -> Callable[[PyTree], PyTree]:
        network = linearise(risk, params, batch)
        pull = network.pull()
        middle = factor.product(risk.loss, network.outputs, batch.targets, batch.indices)

        def apply(vector: PyTree) -> PyTree:
            tangent = network.push(vector)

            def weigh(x: Array, like: Array) -> Array:
                weights = batch.weights.reshape(-1, *[1] * (x.ndim - 1))
                return (weights * x).astype(like.dtype)

            return pull(jax.tree.map(weigh, middle(tangent), tangent))

        return apply

    return risk.summed(of_batch)
