"""The cross-entropy of a softmax and its derivatives, exact to rounding for any confidence.

Let p be the probabilities. Once the largest rounds to 1, the textbook forms 1 - p and
p (t - sum p t) lose all their digits. The forms here subtract nothing that is nearly equal: they
leave the term in question out of the sum, or take tangents relative to that of the largest logit.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


Logits = Float[Array, "*labels classes"]  # noqa: F821 (ruff reads a product of two names)
Labels = Int[Array, "*labels"]  # noqa: F821
Valid = Bool[Array, "*labels"]  # noqa: F821


@jax.custom_jvp
def softmax_loss(logits: Logits, labels: Labels) -> Float[Array, "*labels"]:
    """-log p of each label, in nats; NaN for a label that is not a class."""
    highest = jnp.max(logits, axis=-1, keepdims=True)
    top = _is_class(jnp.argmax(logits, axis=-1), logits)
    others = jnp.sum(jnp.where(top, 0, jnp.exp(logits - highest)), axis=-1)
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1, mode="clip")
    loss = jnp.log1p(others) + (highest - own)[..., 0]
    return jnp.where(is_class_index(logits, labels), loss, jnp.nan)


@softmax_loss.defjvp
def _loss_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    gradient = softmax_gradient(*primals)
    return softmax_loss(*primals), jnp.sum(gradient * tangents[0], axis=-1)


@jax.custom_jvp
def softmax_gradient(logits: Logits, labels: Labels) -> Logits:
    """p - e_y, the gradient of the loss of label y in the logits."""
    p = probabilities(logits, is_class_index(logits, labels))
    own = _is_class(labels, logits)
    others = jnp.where(own, 0, p)
    return jnp.where(own, -jnp.sum(others, axis=-1, keepdims=True), p)


@softmax_gradient.defjvp
def _gradient_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, labels = primals
    product = softmax_hessian_product(logits, is_class_index(logits, labels), tangents[0])
    return softmax_gradient(logits, labels), product


def softmax_hessian_product(logits: Logits, valid: Valid, tangent: Logits) -> Logits:
    """H t, with H = diag(p) - p p^T; NaN where a label is not valid."""
    p = probabilities(logits, valid)
    top = jnp.argmax(logits, axis=-1, keepdims=True)
    # H (1, ..., 1) = 0, so any number may be subtracted from t. With that at the largest logit,
    # the sum has no term whose probability is nearly 1.
    relative = tangent - jnp.take_along_axis(tangent, top, axis=-1)
    return p * (relative - jnp.sum(p * relative, axis=-1, keepdims=True))


def probabilities(logits: Logits, valid: Valid) -> Logits:
    """The probabilities of the classes; NaN where a label is not valid."""
    return jnp.where(valid[..., None], jax.nn.softmax(logits), jnp.nan)


def is_class_index(logits: Logits, labels: Labels) -> Valid:
    """Whether each label is the index of a class."""
    return (labels >= 0) & (labels < logits.shape[-1])


def _is_class(labels: Labels, logits: Logits) -> Bool[Array, "*labels classes"]:
    return labels[..., None] == jnp.arange(logits.shape[-1]).reshape(*[1] * labels.ndim, -1)
