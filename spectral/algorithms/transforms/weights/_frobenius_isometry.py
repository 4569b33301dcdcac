"""FIRE: weight matrices are projected towards isometries before every new task."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count, MOST_WRITTEN_OUT
from ...._base._scaling import norm
from ...._carry import branch
from ...._types import Clock, Learner, TaskStart
from ....models import connected
from ..._base._protocols import AbstractTransform
from ._layers import layers_of


class FrobeniusIsometry(AbstractTransform[None]):
    """Frobenius-isometry reinitialisation (FIRE; Han et al., arXiv 2602.08040, ICLR 2026).

    Before every task except the first, each weight matrix W (out x in), the output layer included,
    goes towards the nearest matrix whose singular values are equal, and the state of the optimiser
    starts again:

        X <- W / ||W||_F,   then `iterations` times   X <- 1.5 X - 0.5 X X^T X
        W <- sqrt(out / in) / (kernel height x kernel width) X

    The kernel of a convolution is a matrix at each of its positions. Biases and norm layers do not
    change. This is the authors' code (the official repository of FIRE, `vision/`). The scale of W
    has no influence, and the function of the network changes.

    The iteration is that of Newton and Schulz. One round multiplies a small singular value by at
    most 1.5. After ten, the default of the code, 0.03 of the norm has become 0.97, but 0.001 is
    still 0.06: the result is an isometry up to its scale only if no singular value is that small. A
    zero stays zero, so the weights of a dead unit do, and a matrix of zeros does not change. (The
    code gives NaN there.)

    The new matrices count as a reset: other parts of the algorithm forget what they remember of the
    old ones, see `AbstractTransform.resets`. In a sparse layer only existing connections change.

    ```python
    Algorithm(sgd(0.03), transforms=(FrobeniusIsometry(iterations=20),))
    ```
    """

    iterations: int = eqx.field(static=True, converter=as_int)

    def __init__(self, *, iterations: int = 10):
        """**Raises:** `ValueError` for `iterations` below one or above 1000. After 220 rounds even
        the smallest number of float32 has become 1."""
        check_count("iterations", iterations, maximum=MOST_WRITTEN_OUT)
        self.iterations = iterations

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`."""
        layers_of(learner.model)

    def begin_task(
        self, learner: Learner, state: None, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        return branch(start.clock.task > 0, self._projected, learner), state

    def resets(
        self, learner: Learner, state: None, clock: Clock
    ) -> tuple[Bool[Array, ""], PyTree[bool]]:
        leaves, structure = jax.tree.flatten(eqx.filter(learner.model, eqx.is_inexact_array))
        matrices = _matrices(learner)
        marks = [i in matrices for i in range(len(leaves))]
        return clock.task > 0, jax.tree.unflatten(structure, marks)

    def _projected(self, learner: Learner) -> Learner:
        params, static = eqx.partition(connected(learner.model), eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(params)
        for i in _matrices(learner):
            leaves[i] = self._isometry(leaves[i])
        model = connected(eqx.combine(jax.tree.unflatten(structure, leaves), static))
        return replace(learner, model=model, optimiser=learner.optimiser.init(model))

    def _isometry(self, weight: Float[Array, "out in *kernel"]) -> Float[Array, "out in *kernel"]:
        outputs, inputs, *kernel = weight.shape
        # One matrix for each position of the kernel, with no more rows than columns.
        x = jnp.moveaxis(weight.reshape(outputs, inputs, -1), 2, 0)
        x = x if outputs <= inputs else x.mT
        size = norm(x, (1, 2), keepdims=True)
        x = x / jnp.where(size > 0, size, 1)
        closer = lambda _, x: 1.5 * x - 0.5 * (x @ x.mT) @ x
        x = jax.lax.fori_loop(0, self.iterations, closer, x)
        x = x if outputs <= inputs else x.mT
        scale = (outputs / inputs) ** 0.5 / len(x)
        return jnp.moveaxis(scale * x, 0, 2).reshape(outputs, inputs, *kernel)


def _matrices(learner: Learner) -> set[int]:
    return {layer.weight for layer in layers_of(learner.model) if not layer.is_norm}
