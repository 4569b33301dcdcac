"""Batches and outputs of labelled data, and the criterion of classification."""

from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..._types import Aux
from ._outputs import network_outputs


class LabelledBatch(eqx.Module):
    """Inputs as the network sees them, their labels, and which logits count.

    Integer labels are classes, Booleans are several answers for each example, floats are numbers
    to predict.
    """

    inputs: Float[Array, "examples ..."]
    labels: (
        Int[Array, " examples"] | Bool[Array, "examples outputs"] | Float[Array, "examples outputs"]
    )
    _: KW_ONLY
    classes: Bool[Array, "examples classes"] | None = None  # None: all logits count


def batch_logits(
    model: Any,
    model_state: eqx.nn.State | None,
    batch: LabelledBatch,
    num_outputs: int,
    *,
    inference: bool,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "examples outputs"], Aux]:
    """The logits of a network for a batch. A masked logit is -1e9 and passes no gradient.

    **Raises:** `ValueError` if the network does not return `num_outputs` numbers for each example.
    """
    noun = "classes" if jnp.issubdtype(batch.labels.dtype, jnp.integer) else "outputs in the labels"
    needed = f"there are {num_outputs} {noun}: make one with `out_size={num_outputs}`."
    logits, aux = network_outputs(
        model, model_state, batch.inputs, (num_outputs,), needed, inference=inference, key=key
    )
    if batch.classes is None:
        return logits, aux
    # -1e9 is finite, so that its product with zero is not NaN; its probability is exactly 0.
    return jnp.where(batch.classes, logits, -1e9), aux


def cross_entropy(
    logits: Float[Array, "examples classes"], labels: Int[Array, " examples"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the mean softmax cross-entropy in nats and the fraction of examples classified
    correctly. Both are NaN if a logit is."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = jnp.argmax(logits, axis=-1) == labels
    # Without this a diverged network would score as well as guessing, because argmax of NaN is 0.
    right = jnp.where(jnp.isnan(losses), jnp.nan, right.astype(losses.dtype))
    return jnp.mean(losses), jnp.mean(right)
