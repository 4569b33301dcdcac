"""Batches of token sequences, and their mean loss."""

from dataclasses import KW_ONLY
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class SequenceBatch(eqx.Module):
    """Tokens as the network sees them, and the token to predict at each position.

    A position whose label is `SequenceBatch.ignore_label` (-100, as in PyTorch) does not count.
    `weights` are those of the losses of the positions; `None` stands for weights of one. All means
    are weighted sums over the positions that count, divided by the sum of their weights.

    ```python
    import jax.numpy as jnp

    tokens = jnp.array([[3, 1, 4, 1]])
    tasks.next_tokens(tokens).labels  # [[1, 4, 1]], for the inputs [[3, 1, 4]]
    ```
    """

    ignore_label: ClassVar[int] = -100

    inputs: Int[Array, "examples positions"]
    labels: Int[Array, "examples positions"]
    _: KW_ONLY
    weights: Float[Array, "examples positions"] | None = None

    @property
    def counted(self) -> Float[Array, "examples positions"]:
        """The weight of each position, 0 where its label does not count."""
        counts = self.labels != self.ignore_label
        return jnp.where(counts, 1.0 if self.weights is None else self.weights, 0.0)


def next_tokens(
    tokens: Int[Array, "examples length"], *, weights: Float[Array, " positions"] | None = None
) -> SequenceBatch:
    """Returns a batch in which each token predicts the next one.

    **Arguments:**

    - `tokens`: one more in each sequence than the network sees.
    - `weights`: of the positions, by default one for each.
    """
    inputs, labels = tokens[:, :-1], tokens[:, 1:]
    if weights is None:
        return SequenceBatch(inputs, labels)
    return SequenceBatch(inputs, labels, weights=jnp.broadcast_to(weights, labels.shape))


def token_sums(
    logits: Float[Array, "examples positions classes"],
    labels: Int[Array, "examples positions"],
    weights: Float[Array, "examples positions"],
) -> Float[Array, "3"]:
    """Returns the weighted sums of the cross-entropy in nats and of the correct predictions, and
    the sum of the weights. The first two are NaN if a position with a weight has a logit that is
    NaN, or a label that is not a class."""
    known = (labels >= 0) & (labels < logits.shape[-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(known, labels, 0))
    losses = jnp.where(known, losses, jnp.nan)
    right = jnp.argmax(logits, axis=-1) == labels
    # Without this a diverged network would score as well as guessing, because argmax of NaN is 0.
    right = jnp.where(jnp.isnan(losses), jnp.nan, right.astype(losses.dtype))
    total = lambda values: jnp.sum(jnp.where(weights > 0, weights * values, 0))
    return jnp.stack([total(losses), total(right), jnp.sum(weights)])
