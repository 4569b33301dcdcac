"""The criterion that all streams of classification tasks share."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ._outputs import check_outputs


class LabelledBatch(eqx.Module):
    """Inputs with class labels."""

    inputs: Float[Array, "examples ..."]
    labels: Int[Array, " examples"]


def check_logits(outputs: Any, classes: int) -> None:
    """**Raises:** `ValueError` if the outputs for a batch are not one number for each class."""
    wanted = f"there are {classes} classes: make one with `out_size={classes}`."
    check_outputs(outputs, (classes,), wanted)


def cross_entropy(
    logits: Float[Array, "examples classes"], labels: Int[Array, " examples"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean softmax cross-entropy in nats, and the fraction of examples classified correctly; both
    are NaN where a logit is."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = jnp.argmax(logits, axis=-1) == labels
    # The arg max of NaN is the first class: a diverged network would score as one that guesses.
    right = jnp.where(jnp.isnan(losses), jnp.nan, right.astype(losses.dtype))
    return jnp.mean(losses), jnp.mean(right)
