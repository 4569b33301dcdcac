"""What the metrics of token sequences are."""

import math
from dataclasses import replace

from ..._base._quantity import Quantity


def sequence_quantities(
    vocabulary_size: int, *, excess: bool = False, note: str = ""
) -> dict[str, Quantity]:
    """What the metrics of a stream of sequences are, the main one first.

    Guessing gives every token of the vocabulary the same probability.

    **Arguments:**

    - `excess`: whether the smallest possible loss is known, so that there is a `test_excess`.
    - `note`: a sentence about the data.
    """
    loss = Quantity(
        "test loss",
        unit="nats",
        limits=(0.0, None),
        better="lower",
        guess=math.log(vocabulary_size),
        figure="performance",
        rows="test",
        note=note,
    )
    accuracy = Quantity(
        "accuracy",
        limits=(0.0, 1.0),
        better="higher",
        guess=1 / vocabulary_size,
        compared=True,
        figure="performance",
        rows="test",
        note=note,
    )
    above = replace(
        loss,
        label="excess loss",
        limits=(None, None),
        guess=None,
        note="The test loss minus the smallest loss that is possible.",
    )
    train = {"rows": "train", "figure": "training", "note": ""}
    return {
        "test_loss": loss,
        "test_accuracy": accuracy,
        **({"test_excess": above} if excess else {}),
        "loss": replace(loss, label="training loss", **train),
        "accuracy": replace(accuracy, label="training accuracy", compared=False, **train),
    }
