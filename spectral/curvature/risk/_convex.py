"""Any convex loss, differentiated automatically."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._base._precision import in_single
from ..._eigh import eigh
from ._loss import AbstractLoss, total_loss


class Convex(AbstractLoss):
    """A loss given as a function of outputs and targets.

    ```python
    huber = Convex(lambda outputs, targets: optax.huber_loss(outputs, targets).sum(axis=1))
    ```

    **Arguments:**

    - `function`: `(outputs, targets) -> losses`, one number for each example or their mean. The
        loss of an example must depend on the outputs of this example only. The Gauss-Newton matrix
        is positive semi-definite only if the loss is convex in the outputs. `hessian_root` is NaN
        for an example where it is not convex by more than rounding, for outputs and losses of
        order one or more.
    """

    function: Callable[[PyTree, PyTree], Any]

    def losses(self, outputs: PyTree, targets: PyTree) -> Any:
        return self.function(in_single(outputs), targets)

    def hessian_product(self, outputs: PyTree, targets: PyTree, tangent: PyTree) -> PyTree:
        gradient = jax.grad(lambda z: total_loss(self, z, targets))
        return jax.jvp(gradient, (in_single(outputs),), (in_single(tangent),))[1]

    def hessian_root(self, outputs: PyTree, targets: PyTree) -> PyTree:
        outputs = in_single(outputs)
        leaves, structure = jax.tree.flatten(outputs)
        num_examples = leaves[0].shape[0]
        sizes = [leaf.size // num_examples for leaf in leaves]
        width = sum(sizes)

        def joined(tree: PyTree) -> Float[Array, "examples width"]:
            flat = [x.reshape(num_examples, -1) for x in jax.tree.leaves(tree)]
            return jnp.concatenate(flat, axis=1)

        def split(flat: Float[Array, "examples width"]) -> PyTree:
            ends = [sum(sizes[:i]) for i in range(1, len(sizes))]
            parts = jnp.split(flat, ends, axis=1)
            shaped = [p.reshape(x.shape) for p, x in zip(parts, leaves, strict=True)]
            return jax.tree.unflatten(structure, shaped)

        def column(direction: Float[Array, " width"]) -> Float[Array, "examples width"]:
            tangent = split(jnp.broadcast_to(direction, (num_examples, width)))
            return joined(self.hessian_product(outputs, targets, tangent))

        eye = jnp.eye(width, dtype=joined(outputs).dtype)
        hessians = jax.lax.map(column, eye).transpose(1, 0, 2)
        values, vectors = jax.vmap(eigh)(hessians)
        # The Hessian of a confident prediction is only the rounding of terms of order one.
        scale = jnp.maximum(1, jnp.abs(values).max(axis=1, keepdims=True))
        rounding = width * jnp.finfo(values.dtype).eps * scale
        values = jnp.where(values < -rounding, jnp.nan, jnp.maximum(values, 0))
        columns = (vectors * jnp.sqrt(values)[:, None, :]).transpose(2, 0, 1)
        return jax.vmap(split)(columns)

    def sampled_gradient(self, outputs: PyTree, targets: PyTree, *, key: PRNGKeyArray) -> PyTree:
        raise ValueError(
            "`loss` is an arbitrary function, but targets can be sampled only from the "
            "distribution of a likelihood: use `SquaredError`, `SoftmaxCrossEntropy` or "
            "`SigmoidCrossEntropy`, or the exact or the empirical matrix."
        )
