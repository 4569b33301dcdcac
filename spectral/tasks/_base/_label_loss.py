"""The loss of labelled data. The type of the labels decides which."""

from dataclasses import replace

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ..._base._quantity import Quantity
from ._classification import cross_entropy
from ._stream import Metrics


Labels = Int[Array, " rows"] | Bool[Array, "rows outputs"] | Float[Array, "rows outputs"]


def label_loss(
    outputs: Float[Array, "rows outputs"], labels: Labels
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean loss of outputs, and their accuracy if the labels have one.

    - Integers are classes: the softmax cross-entropy in nats, and the fraction of rows classified
      correctly.
    - Booleans are several answers for each row: the mean sigmoid cross-entropy of an answer in
      nats, and the fraction of answers that are correct.
    - Floats are numbers to predict: the mean squared error of a number, without an accuracy.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return jnp.mean((outputs - labels) ** 2), {}
    if labels.dtype != bool:
        loss, accuracy = cross_entropy(outputs, labels)
        return loss, {"accuracy": accuracy}
    losses = optax.sigmoid_binary_cross_entropy(outputs, labels.astype(outputs.dtype))
    right = jnp.where(jnp.isnan(losses), jnp.nan, ((outputs > 0) == labels).astype(losses.dtype))
    return jnp.mean(losses), {"accuracy": jnp.mean(right)}


def label_quantities(
    chance: float | None, *, numbers: bool = False, validation: bool = False, online: bool = False
) -> dict[str, Quantity]:
    """What the metrics of labelled data are.

    **Arguments:**

    - `chance`: the accuracy of guessing, if it is known.
    - `numbers`: whether the labels are numbers, which have a loss and no accuracy.
    - `validation`: whether there are validation rows.
    - `online`: whether the accuracy on training minibatches is a score, `online_accuracy`, because
      every example is seen once.
    """
    if numbers:
        loss = Quantity("test loss", better="lower", scale="log", figure="performance", rows="test")
        held_out = replace(loss, label="validation loss", rows="validation")
        return {"test_loss": loss} | ({"validation_loss": held_out} if validation else {})
    test = Quantity(
        "accuracy",
        limits=(0.0, 1.0),
        better="higher",
        guess=chance,
        compared=True,
        figure="performance",
        rows="test",
    )
    train = replace(test, label="online accuracy", rows="train")
    practice = replace(train, label="training accuracy", compared=False, figure="training")
    held_out = replace(test, label="validation accuracy", rows="validation")
    return (
        {"test_accuracy": test}
        | ({"online_accuracy": train} if online else {"accuracy": practice})
        | ({"validation_accuracy": held_out} if validation else {})
    )
