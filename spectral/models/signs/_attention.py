"""Signs of lost plasticity in attention heads."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._base._precision import in_single
from ..._base._scaling import norm


def attention_entropy(
    logits: Float[Array, "examples heads tokens tokens"],
) -> Float[Array, " heads"]:
    """The entropy of the weights with which each head attends, as a fraction of its maximum.

    The weights are the softmax of each row of logits, as `attention_logits` returns them. The
    largest possible entropy of a row is log n, with n the number of positions that it may attend
    to: those with a logit that is not -inf. Under a causal mask, row t has n = t + 1. With log of
    the length of the sequence in its place, no causal head could be near-uniform. Each row is
    divided by its own maximum, and the fractions are averaged over the rows of all examples. Rows
    with n = 1 have no choice and do not count. The result is NaN if there are no other rows.

    ```python
    row = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])  # the second token sees two
    attention_entropy(row[None, None])              # [1.0]
    ```
    """
    logits = in_single(logits)
    visible = logits != -jnp.inf
    log_weights = jax.nn.log_softmax(logits)
    terms = jnp.where(visible, jnp.exp(log_weights) * log_weights, 0)
    count = jnp.sum(visible, axis=-1)
    chooses = count > 1
    fractions = -jnp.sum(terms, axis=-1) / jnp.log(jnp.where(chooses, count, 2))
    rows = (0, 2)
    total = jnp.sum(jnp.where(chooses, fractions, 0), axis=rows)
    return total / jnp.sum(chooses, axis=rows)


def lazy_heads(
    logits: Float[Array, "examples heads tokens tokens"], *, threshold: float = 0.9
) -> Bool[Array, " heads"]:
    """Marks the heads that attend to all positions almost alike: `attention_entropy` is above
    `threshold`.

    The threshold is that of Hernandez-Garcia et al. (2026, arXiv 2606.24752). How they treat causal
    masks is not known to us; see `attention_entropy`.

    ```python
    lazy_heads(jnp.zeros((1, 2, 3, 3)))   # [True, True]
    ```
    """
    return attention_entropy(logits) > threshold


def collapsed_heads(
    logits: Float[Array, "examples heads tokens tokens"], *, threshold: float = 0.1
) -> Bool[Array, " heads"]:
    """Marks the heads that attend to one position almost alone: `attention_entropy` is below
    `threshold`.

    The threshold is that of Hernandez-Garcia et al. (2026, arXiv 2606.24752), see `lazy_heads`.

    ```python
    collapsed_heads(100 * jnp.eye(3)[None, None])   # [True]
    ```
    """
    return attention_entropy(logits) < threshold


def largest_logit(logits: Float[Array, "examples heads tokens tokens"]) -> Float[Array, " heads"]:
    """The largest logit of each head, over all examples and pairs of positions.

    Logits are products of a query and a key as the softmax takes them, divided by sqrt(head width).
    Their growth drives the weights of attention to one-hot vectors, and is why queries and keys are
    normalised (Dehghani et al., *Scaling Vision Transformers to 22 Billion Parameters*, 2023). The
    sign is kept: an equal shift of a row of logits changes no weight, but growing queries and keys
    have large products of both signs.

    ```python
    largest_logit(jnp.array([[1.0, -jnp.inf], [-5.0, 2.0]])[None, None])   # [2.0]
    ```
    """
    return jnp.max(logits, axis=(0, 2, 3))


def head_redundancy(outputs: Float[Array, "examples heads tokens width"]) -> Float[Array, ""]:
    """The mean cosine of the outputs of two heads, over all pairs, examples and tokens.

    Pass what each head adds to the residual stream (`head_outputs`). Before the output projection
    each head has axes of its own: they can be rotated, and the projection with them, without a
    change of the network, so a cosine of these vectors would mean nothing. The sign is kept. Pairs
    in which an output is 0 do not count. NaN if there are no other pairs, as with one head.

    ```python
    head_redundancy(jnp.array([[[[1.0, 0.0]], [[1.0, 1.0]]]]))   # 0.7071
    ```
    """
    outputs = in_single(outputs)
    size = norm(outputs, -1, keepdims=True)
    known = size != 0
    units = jnp.where(known, outputs / jnp.where(known, size, 1), 0)
    count = jnp.sum(known[..., 0], axis=1)  # heads that add something to a token
    # The squared norm of the sum of unit vectors is their number plus the cosines of all pairs. The
    # rounding of one vector alone is not a cosine.
    cosines = jnp.sum(jnp.sum(units, axis=1) ** 2, axis=-1) - count
    return jnp.sum(jnp.where(count > 1, cosines, 0)) / jnp.sum(count * (count - 1))
