"""The usual losses, with their curvature in closed form."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..._arguments import check_above
from ._loss import AbstractLoss


# Targets are checked by hand: without type checking, shapes that differ would be broadcast.
Outputs = Float[Array, "examples *entries"]  # noqa: F821 (ruff reads a product of two names)
Columns = Float[Array, "columns examples *entries"]


class SquaredError(AbstractLoss):
    """scale * ||outputs - targets||^2 for each example, summed over the entries of its outputs.

    With the default scale of 1/2 the Hessian in the outputs is the identity. PyTorch's
    `MSELoss()` over C outputs is a scale of 1/C. As a likelihood: a Gaussian of variance
    1 / (2 scale).

    **Raises:** `ValueError` for a scale that is not positive, and when it is used for targets that
    are not of the shape of the outputs.
    """

    scale: Float[Array, ""]

    def __init__(self, *, scale: float | Float[Array, ""] = 0.5):
        check_above("scale", scale, 0)
        self.scale = jnp.asarray(scale, dtype=float)

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        _check_alike(outputs, targets)
        return self.scale * jnp.sum((outputs - targets).reshape(outputs.shape[0], -1) ** 2, axis=1)

    def hessian_product(
        self,
        outputs: Outputs,
        targets: Array,
        tangent: Outputs,
    ) -> Outputs:
        _check_alike(outputs, targets)
        return (2 * self.scale).astype(tangent.dtype) * tangent

    def hessian_root(self, outputs: Outputs, targets: Array) -> Columns:
        _check_alike(outputs, targets)
        root = jnp.sqrt(2 * self.scale).astype(outputs.dtype)
        return _diagonal_root(jnp.full_like(outputs, root))

    def sampled_gradient(self, outputs: Outputs, *, key: PRNGKeyArray) -> Outputs:
        root = jnp.sqrt(2 * self.scale).astype(outputs.dtype)
        return root * jax.random.normal(key, outputs.shape, outputs.dtype)


class SoftmaxCrossEntropy(AbstractLoss):
    """The negative log-likelihood, in nats, of integer labels under softmax outputs (logits).

    **Raises:** `ValueError`, when it is used, unless the outputs are `[examples, classes]` and the
    targets integers `[examples]`.
    """

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        _check_labels(outputs, targets)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)

    def hessian_product(
        self,
        outputs: Outputs,
        targets: Array,
        tangent: Outputs,
    ) -> Outputs:
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
        return jax.nn.softmax(outputs) - jax.nn.one_hot(
            labels, outputs.shape[-1], dtype=outputs.dtype
        )


class SigmoidCrossEntropy(AbstractLoss):
    """The negative log-likelihood, in nats, of independent binary labels (0 or 1, or a probability)
    under sigmoid outputs (logits), summed over the outputs of an example.

    **Raises:** `ValueError`, when it is used, for targets that are not of the shape of the outputs.
    """

    def losses(self, outputs: Outputs, targets: Array) -> Float[Array, " examples"]:
        _check_alike(outputs, targets)
        losses = optax.sigmoid_binary_cross_entropy(outputs, targets)
        return jnp.sum(losses.reshape(outputs.shape[0], -1), axis=1)

    def hessian_product(
        self,
        outputs: Outputs,
        targets: Array,
        tangent: Outputs,
    ) -> Outputs:
        _check_alike(outputs, targets)
        p = jax.nn.sigmoid(outputs)
        return p * (1 - p) * tangent

    def hessian_root(self, outputs: Outputs, targets: Array) -> Columns:
        _check_alike(outputs, targets)
        p = jax.nn.sigmoid(outputs)
        return _diagonal_root(jnp.sqrt(p * (1 - p)))

    def sampled_gradient(self, outputs: Outputs, *, key: PRNGKeyArray) -> Outputs:
        p = jax.nn.sigmoid(outputs)
        return p - jax.random.bernoulli(key, p).astype(outputs.dtype)


def _check_alike(outputs: Outputs, targets: Array) -> None:
    """Without this outputs `[examples, 1]` and targets `[examples]` would be broadcast to pairs."""
    if targets.shape != outputs.shape:
        raise ValueError(
            f"`targets` have the shape {targets.shape}, but must have that of the outputs, "
            f"{outputs.shape}: reshape one of the two, such as by `targets[:, None]`."
        )


def _check_labels(outputs: Outputs, targets: Array) -> None:
    labels = targets.shape == outputs.shape[:1] and jnp.issubdtype(targets.dtype, jnp.integer)
    if outputs.ndim != 2 or not labels:
        raise ValueError(
            f"The outputs have the shape {outputs.shape} and `targets` are {targets.dtype} "
            f"{targets.shape}, but must be `[examples, classes]` and integers `[examples]`: give "
            "other data, such as sequences or probabilities of labels, a loss of your own, a "
            "function `(outputs, targets) -> losses`."
        )


def _diagonal_root(entries: Outputs) -> Columns:
    """The columns of diagonal matrices, one matrix for each example."""
    flat = entries.reshape(entries.shape[0], -1)
    columns = jnp.eye(flat.shape[1], dtype=flat.dtype)[:, None, :] * flat[None]
    return columns.reshape(-1, *entries.shape)
