"""The loss of token sequences as curvature needs it."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...curvature import AbstractLoss, SoftmaxCrossEntropy
from ._sequence_batch import SequenceBatch


Logits = Float[Array, "examples positions classes"]


class SequenceLoss(AbstractLoss):
    """The weighted cross-entropy, in nats, of each sequence of a `SequenceBatch`.

    The loss of an example is the sum over its positions, as in `SoftmaxCrossEntropy`. The mean of a
    `Risk` is over all positions that count, by their weights, and is the criterion of the stream.
    The derivatives are exact to rounding for any confidence of the network.

    With weights, the sampled gradients are those of drawn labels times the square root of their
    weights. So their covariance is the Hessian of the weighted mean.

    ```python
    import jax.numpy as jnp
    from spectral.curvature import Risk

    tokens = jnp.array([[3, 1, 4, 1]])
    batch = tasks.SequenceBatch(tokens[:, :-1], tokens[:, 1:])
    risk = Risk(lambda table, batch: table[batch.inputs], SequenceLoss(), batch, batch)
    ```
    """

    def losses(self, outputs: Logits, targets: SequenceBatch) -> Float[Array, " examples"]:
        classes, shape = outputs.shape[-1], targets.labels.shape
        single = _loss().losses(outputs.reshape(-1, classes), targets.labels.reshape(-1))
        return jnp.sum(_weighted(targets, single.reshape(shape)), axis=1)

    def hessian_product(self, outputs: Logits, targets: SequenceBatch, tangent: Logits) -> Logits:
        return _weighted(targets, _loss().hessian_product(outputs, targets.labels, tangent))

    def hessian_root(
        self, outputs: Logits, targets: SequenceBatch
    ) -> Float[Array, "columns examples positions classes"]:
        root = _loss().hessian_root(outputs, targets.labels)
        return _weighted(targets, root, power=0.5)

    def sampled_gradient(
        self, outputs: Logits, targets: SequenceBatch, *, key: PRNGKeyArray
    ) -> Logits:
        gradient = _loss().sampled_gradient(outputs, targets.labels, key=key)
        return _weighted(targets, gradient, power=0.5)

    def counts(
        self, targets: SequenceBatch
    ) -> Int[Array, " examples"] | Float[Array, " examples"] | None:
        if targets.weights is None:
            return _loss().counts(targets.labels)
        return jnp.sum(targets.counted, axis=1)

    def check_targets(self, outputs: Any, targets: SequenceBatch) -> None:
        _loss().check_targets(outputs, targets.labels)


def _loss() -> SoftmaxCrossEntropy:
    return SoftmaxCrossEntropy(ignore_label=SequenceBatch.ignore_label)


def _weighted(targets: SequenceBatch, values: Array, *, power: float = 1.0) -> Array:
    """The values times a power of the weights of their positions."""
    if targets.weights is None:
        return values
    weights = targets.counted**power
    # `values` may have an axis over columns before these axes, and one over classes after them.
    columns = values.ndim == weights.ndim + 2
    classes = values.ndim > weights.ndim
    return weights.reshape(*[1] * columns, *weights.shape, *[1] * classes) * values
