"""Inputs that move gradually from those of one task to those of the next."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._base._classification import LabelledBatch
from ..streams._labelled_stream import AbstractLabelledStream, LabelledItem
from ._gradual_stream import AbstractGradualStream, check_only_changes, checked, GradualTask


class BlendedItem(eqx.Module):
    """The rows of a minibatch, and for each the fraction of the change that has happened."""

    item: LabelledItem
    fraction: Float[Array, "*batch"]


class InterpolatedInputs(AbstractGradualStream):
    """The inputs of each row move from those of the task before to those of the task:
    (1 - a) x_before + a x, with the fraction a of the change (see `abruptness`).

    Liu and Mou, *Do Neural Networks Lose Plasticity in a Gradually Changing World?*
    (arXiv 2602.09234, 2026). Both x_before and x are made from the stored row, so the end points
    are exactly the inputs of the two tasks. (In the authors' code both permutations act on images
    that are permuted already, so its end points are not the tasks.) There a rises by a fixed
    amount every few epochs; here it rises at every gradient step.

    Step t = 1, ..., T of a task has a = min(1, t / ((1 - abruptness) T)); the first task has a = 1.
    `evaluate` and `sample` are those of the task at a = 1. Everything else is that of the wrapped
    stream.

    ```python
    data = tasks.load_images("digits")
    permuted = tasks.PermutedInputs(data, num_tasks=5, loader=tasks.Loader(flat=True))
    stream = tasks.InterpolatedInputs(permuted, abruptness=0.5)
    ```
    """

    stream: AbstractLabelledStream[Any]
    abruptness: Float[Array, ""]

    def __init__(
        self, stream: AbstractLabelledStream, *, abruptness: float | Float[Array, ""] = 0.0
    ):
        """**Arguments:**

        - `stream`: a stream of labelled data that changes only inputs, such as `PermutedInputs`,
          `RotatedInputs`, `DriftingInputs`, `NoisedInputs`, `RotatedImages` or `NoisedImages`.
        - `abruptness`: from 0, a change over the whole task, to 1, a change at once.

        **Raises:** `TypeError` for another kind of stream, `ValueError` for a stream that changes
        labels or rows, or for an abruptness outside [0, 1].
        """
        self.abruptness = checked(stream, abruptness)
        check_only_changes(stream, "inputs", "`InterpolatedInputs`")
        self.stream = stream

    def mixed(
        self, state: GradualTask, items: PyTree, fraction: Float[Array, " minibatches"], **draw: Any
    ) -> BlendedItem:
        return with_fraction(items, fraction)

    def batch(self, state: GradualTask, item: BlendedItem) -> LabelledBatch:
        before = self.stream.batch(state.before, item.item)
        now = self.stream.batch(state.now, item.item)
        a = item.fraction.reshape(-1, *(1 for _ in now.inputs.shape[1:]))
        # This form is exact at both ends, in contrast to before + a (now - before).
        inputs = (1 - a) * before.inputs + a * now.inputs
        return LabelledBatch(inputs, now.labels, classes=now.classes)


def with_fraction(item: LabelledItem, fraction: Float[Array, " minibatches"]) -> BlendedItem:
    """The items of a chunk with the fraction of their minibatch for each row."""
    return BlendedItem(item, jnp.broadcast_to(fraction[:, None], item.rows.shape))
