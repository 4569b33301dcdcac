"""The usual losses, with their curvature in closed form."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from ._elementwise import AbstractElementwiseLoss, check_same_shape, Columns, Outputs
from ._loss import AbstractLoss


class SquaredError(AbstractElementwiseLoss):
    """scale * ||outputs - targets||^2 for each example, summed over the entries of its outputs.

    With the default scale of 1/2 the Hessian in the outputs is the identity. PyTorch's
    `MSELoss()` over C outputs corresponds to a scale of 1/C. As a likelihood, the loss belongs to
    a Gaussian of variance 1 / (2 scale).

    **Raises:** `ValueError` if `scale` is not positive and, when the loss is used, if the targets
    do not have the shape of the outputs.
    """

    scale: Float[Array, ""]

    def __init__(self, *, scale: float | Float[Array, ""] = 0.5):
        check_above("scale", scale, 0)
        self.scale = jnp.asarray(scale, dtype=float)

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        check_same_shape(outputs, targets)
        return self.scale * jnp.sum((outputs - targets).reshape(outputs.shape[0], -1) ** 2, axis=1)

    def second_derivative(self, outputs: Outputs) -> Float[Array, ""]:
        return 2 * self.scale

    def sampled_gradient(self, outputs: Outputs, *, key: PRNGKeyArray) -> Outputs:
        root = jnp.sqrt(2 * self.scale).astype(outputs.dtype)
        return root * jax.random.normal(key, outputs.shape, outputs.dtype)


class SigmoidCrossEntropy(AbstractElementwiseLoss):
    """The negative log-likelihood, in nats, of independent binary labels under sigmoid outputs.

    The outputs are logits; a label is 0, 1 or a probability. The loss of an example is the sum
    over its outputs.

    **Raises:** `ValueError`, when the loss is used, if the targets do not have the shape of the
    outputs.
    """

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        check_same_shape(outputs, targets)
        losses = optax.sigmoid_binary_cross_entropy(outputs, targets)
        return jnp.sum(losses.reshape(outputs.shape[0], -1), axis=1)

    def second_derivative(self, outputs: Outputs) -> Outputs:
        p = jax.nn.sigmoid(outputs)
        return p * (1 - p)

    def sampled_gradient(self, outputs: Outputs, *, key: PRNGKeyArray) -> Outputs:
        p = jax.nn.sigmoid(outputs)
        return p - jax.random.bernoulli(key, p).astype(outputs.dtype)


class SoftmaxCrossEntropy(AbstractLoss):
    """The negative log-likelihood, in nats, of integer labels under softmax outputs (logits).

    **Raises:** `ValueError`, when the loss is used, unless the outputs are `[examples, classes]`
    and the targets are integers `[examples]`.
    """

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        _check_labels(outputs, targets)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)

    def hessian_product(self, outputs: Outputs, targets: Array, tangent: Outputs) -> Outputs:
        _check_labels(outputs, targets)
        p = jax.nn.softmax(outputs)
        return p * (tangent - jnp.sum(p * tangent, axis=1, keepdims=True))

    def hessian_root(self, outputs: Outputs, targets: Array) -> Columns:
        _check_labels(outputs, targets)
        # diag(p) - p p^T = S S^T with the columns S_k = sqrt(p_k) (e_k - p).
        p = jax.nn.softmax(outputs)
        eye = jnp.eye(p.shape[1], dtype=p.dtype)
        return jnp.sqrt(p).T[:, :, None] * (eye[:, None, :] - p[None])

    def sampled_gradient(self, outputs: Outputs, *, key: PRNGKeyArray) -> Outputs:
        labels = jax.random.categorical(key, outputs)
        one_hot = jax.nn.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)
        return jax.nn.softmax(outputs) - one_hot


def _check_labels(outputs: Outputs, targets: Array) -> None:
    labels = targets.shape == outputs.shape[:1] and jnp.issubdtype(targets.dtype, jnp.integer)
    if outputs.ndim != 2 or not labels:
        raise ValueError(
            f"The outputs have the shape {outputs.shape} and `targets` is {targets.dtype} "
            f"{targets.shape}, but the outputs must be `[examples, classes]` and the targets "
            "integers `[examples]`: for other data, such as sequences or probabilities of labels, "
            "pass your own function `(outputs, targets) -> losses`."
        )
