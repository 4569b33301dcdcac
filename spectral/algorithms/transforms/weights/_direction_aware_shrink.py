"""DASH: before every new task, weights shrink that point against its gradient."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ...._arguments import as_int, check_count, MOST_ROUNDS
from ...._base._scaling import exponent_of, times_power
from ...._carry import branch
from ...._types import Learner, TaskStart
from ....models import connected
from ..._base._arguments import as_fraction, Number
from ..._base._protocols import AbstractTransform
from ._layers import layers_of


class DirectionAwareShrink(AbstractTransform[None]):
    """Direction-aware shrinking (DASH; Shin et al., *DASH: Warm-Starting Neural Network Training in
    Stationary Settings without Loss of Plasticity*, 2024), for data that grow.

    Before every task except the first, with the parameters of that moment and in training mode, G
    is a running mean of the negative gradient of the stream's criterion over `num_batches` batches
    of the new task:

        G <- decay G + (1 - decay) (-dL/dW)
        w <- w clip(cos(G_w, w), min_factor, 1)

    w is the row of incoming weights of a unit of a dense layer, a slice [height, width] of the
    kernel of a convolution, or the whole vector of the biases of a layer. Norm layers do not
    change, nor do the running statistics and the optimiser. A row without gradient has cosine 0 and
    shrinks by `min_factor`.

    The authors' alpha is 1 - decay = 0.3, their lambda is `min_factor`. Their code takes all data
    of one chunk of the data set as a batch, from the oldest to the newest; the rerun in the code of
    FIRE takes batches of 256 of the new data, as this one does, alpha 0.1 or 0.3 and lambda 0.05,
    0.1 or 0.3. A batch here is a draw of `TaskStart.sample`.

    ```python
    Algorithm(sgd(0.03), transforms=(DirectionAwareShrink(min_factor=0.1),))
    ```
    """

    min_factor: Float[Array, ""]
    decay: Float[Array, ""]
    num_batches: int = eqx.field(static=True, converter=as_int)
    batch_size: int = eqx.field(static=True, converter=as_int)

    def __init__(
        self,
        *,
        min_factor: Number = 0.3,
        decay: Number = 0.7,
        num_batches: int = 10,
        batch_size: int = 256,
    ):
        """**Raises:** `ValueError` for a `min_factor` outside [0, 1], a decay outside [0, 1), or a
        number of batches or a batch size below one."""
        check_count("num_batches", num_batches, maximum=MOST_ROUNDS)
        check_count("batch_size", batch_size)
        self.min_factor = as_fraction("min_factor", min_factor)
        self.decay = as_fraction("decay", decay, below_one=True)
        self.num_batches, self.batch_size = num_batches, batch_size

    def init(self, learner: Learner, *, key: PRNGKeyArray) -> None:
        """**Raises:** `TypeError` for a model without `units()`."""
        layers_of(learner.model)

    def begin_task(
        self, learner: Learner, state: None, start: TaskStart, *, key: PRNGKeyArray
    ) -> tuple[Learner, None]:
        """**Raises:** `ValueError` for a `batch_size` above the number of training examples."""
        change = lambda learner: self._shrunk(learner, start, key=key)
        return branch(start.clock.task > 0, change, learner), state

    def _shrunk(self, learner: Learner, start: TaskStart, *, key: PRNGKeyArray) -> Learner:
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)
        weights = jax.tree.leaves(eqx.filter(connected(learner.model), eqx.is_inexact_array))
        ascent = jax.tree.leaves(self._mean_gradient(learner, start, key=key))
        leaves, structure = jax.tree.flatten(params)
        for layer in layers_of(learner.model):
            for i in () if layer.is_norm else (layer.weight, layer.bias):
                if i is not None:
                    cosine = -_cosine(ascent[i], weights[i])
                    factor = jnp.clip(cosine, self.min_factor, 1)
                    leaves[i] = leaves[i] * factor.astype(leaves[i].dtype)
        model = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return replace(learner, model=model)

    def _mean_gradient(self, learner: Learner, start: TaskStart, *, key: PRNGKeyArray) -> PyTree:
        """The running mean of the gradients of the batches."""
        params, static = eqx.partition(learner.model, eqx.is_inexact_array)

        def loss(params: PyTree, batch: PyTree, key: PRNGKeyArray) -> Float[Array, ""]:
            moved = replace(learner, model=eqx.combine(params, static))
            return start.loss_of(moved, batch, key=key)

        def add(i: Int[Array, ""], mean: PyTree) -> PyTree:
            draw_key, forward_key = jax.random.split(jax.random.fold_in(key, i))
            batch = start.sample(self.batch_size, key=draw_key)
            grads = jax.grad(loss)(params, batch, forward_key)
            return jax.tree.map(
                lambda m, g: (g + self.decay * (m - g)).astype(m.dtype), mean, grads
            )

        return jax.lax.fori_loop(0, self.num_batches, add, jax.tree.map(jnp.zeros_like, params))


def _cosine(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """The cosine of the angle between two vectors, the rows of two matrices, or the slices of two
    kernels; 0 if one of them is zero."""
    axes = {1: (0,), 2: (1,)}.get(a.ndim, tuple(range(2, a.ndim)))
    # A power of two changes no digit, and no square overflows or underflows.
    a, b = (times_power(x, -exponent_of(x, axes, keepdims=True)) for x in (a, b))
    dot = lambda x, y: jnp.sum(x * y, axis=axes, keepdims=True)
    size = jnp.sqrt(dot(a, a)) * jnp.sqrt(dot(b, b))
    return jnp.where(size > 0, dot(a, b) / jnp.where(size > 0, size, 1), 0)
