"""The loss of labelled data as curvature needs it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...curvature import AbstractLoss, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from ._classification import LabelledBatch
from ._label_loss import Labels


Outputs = Float[Array, "examples outputs"]


class LabelLoss(AbstractLoss):
    """The loss of each example of a `LabelledBatch`: `label_loss` without its mean and accuracy.

    Its derivatives are exact to rounding for any confidence of the network, while those of
    `label_loss` lose all digits once a probability rounds to 1. The type of the labels decides:
    classes give `SoftmaxCrossEntropy`, several answers the mean of `SigmoidCrossEntropy` over the
    outputs, numbers the mean of `SquaredError`.

    For several answers the sampled gradients are those of labels drawn from the network, divided by
    the square root of their number. So their covariance is the Hessian of the mean.
    """

    def losses(self, outputs: Outputs, targets: LabelledBatch) -> Float[Array, " examples"]:
        loss, fraction = _loss(outputs, targets.labels)
        return fraction * loss.losses(outputs, targets.labels)

    def hessian_product(self, outputs: Outputs, targets: LabelledBatch, tangent: Outputs) -> Any:
        loss, fraction = _loss(outputs, targets.labels)
        return fraction * loss.hessian_product(outputs, targets.labels, tangent)

    def hessian_root(
        self, outputs: Outputs, targets: LabelledBatch
    ) -> Float[Array, "columns examples outputs"]:
        loss, fraction = _loss(outputs, targets.labels)
        return fraction**0.5 * loss.hessian_root(outputs, targets.labels)

    def sampled_gradient(
        self, outputs: Outputs, targets: LabelledBatch, *, key: PRNGKeyArray
    ) -> Outputs:
        loss, fraction = _loss(outputs, targets.labels)
        return fraction**0.5 * loss.sampled_gradient(outputs, targets.labels, key=key)

    def check_targets(self, outputs: Any, targets: LabelledBatch) -> None:
        loss, _ = _loss(outputs, targets.labels)
        loss.check_targets(outputs, targets.labels)


def _loss(outputs: Outputs | jax.ShapeDtypeStruct, labels: Labels) -> tuple[AbstractLoss, float]:
    """The loss of these labels, and the fraction of an example's loss that counts."""
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return SquaredError(scale=1 / outputs.shape[1]), 1.0
    if labels.dtype == bool:
        return SigmoidCrossEntropy(), 1 / outputs.shape[1]
    return SoftmaxCrossEntropy(), 1.0
