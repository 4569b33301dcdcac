"""The cross-entropy of a sigmoid and its derivatives, exact to rounding for any confidence.

Let s be the sigmoid. s(z) (1 - s(z)) is 0 once s(z) rounds to 1; s(z) s(-z) is not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


Entries = Float[Array, "*entries"]  # noqa: F821 (ruff reads a product of two names)

_LEVELS = 5  # digits of a uniform number: 23 bits each in float32, so 80 nats are resolved


@jax.custom_jvp
def sigmoid_loss(logits: Entries, labels: Entries) -> Entries:
    """-y log s(z) - (1 - y) log s(-z), in nats; NaN for a label y outside of [0, 1]."""
    loss = labels * jax.nn.softplus(-logits) + (1 - labels) * jax.nn.softplus(logits)
    return jnp.where(_is_probability(labels), loss, jnp.nan)


@sigmoid_loss.defjvp
def _loss_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    z, y = primals
    valid = jnp.where(_is_probability(y), 1, jnp.nan)
    by_label = valid * -z * tangents[1]
    return sigmoid_loss(z, y), sigmoid_gradient(z, y) * tangents[0] + by_label


@jax.custom_jvp
def sigmoid_gradient(logits: Entries, labels: Entries) -> Entries:
    """s(z) - y, the gradient of the loss of label y in the logit z."""
    gradient = (1 - labels) * jax.nn.sigmoid(logits) - labels * jax.nn.sigmoid(-logits)
    return jnp.where(_is_probability(labels), gradient, jnp.nan)


@sigmoid_gradient.defjvp
def _gradient_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    z, y = primals
    valid = jnp.where(_is_probability(y), 1, jnp.nan)
    product = sigmoid_second_derivative(z, y) * tangents[0] - valid * tangents[1]
    return sigmoid_gradient(z, y), product


def sigmoid_second_derivative(logits: Entries, labels: Entries) -> Entries:
    """s(z) s(-z), the second derivative of the loss in the logit; NaN for a label outside of
    [0, 1]."""
    variance = jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)
    return jnp.where(_is_probability(labels), variance, jnp.nan)


def drawn_labels(logits: Entries, *, key: PRNGKeyArray) -> Bool[Array, "*entries"]:
    """Labels that are 1 with probability s(z), also where one of them is very rare."""
    shape, dtype = logits.shape, logits.dtype
    step = jnp.asarray(jnp.finfo(dtype).eps, dtype)
    # Random numbers are multiples of `step`. A probability far below it would be rounded up to it.
    coarse, finer = jax.random.uniform(key, shape, dtype), jnp.zeros(shape, dtype)
    for level in range(_LEVELS, 1, -1):
        own = jax.random.uniform(jax.random.fold_in(key, level), shape, dtype)
        finer = step * (own + finer)
    likely = logits > 0
    # The label is 1 if the number is below s(z), and 0 if its mirror image is below s(-z).
    mirrored = jnp.where(likely, (1 - step) - coarse, coarse)
    return (mirrored + finer < jax.nn.sigmoid(-jnp.abs(logits))) != likely


def _is_probability(labels: Entries) -> Bool[Array, "*entries"]:
    return (labels >= 0) & (labels <= 1)
