"""Labels that move gradually from those of one task to those of the next."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from ...._types import Aux
from ....curvature import AbstractLoss
from ..._base._classification import LabelledBatch
from ..._base._label_loss import Labels
from ..._base._stream import Metrics
from ..streams._labelled_stream import AbstractLabelledStream
from ._gradual_stream import AbstractGradualStream, check_only_changes, checked, GradualTask
from ._interpolated_inputs import BlendedItem, with_fraction


class BlendedBatch(eqx.Module):
    """A batch with the labels of the task, the labels of the task before, and for each example the
    fraction of the change that has happened."""

    now: LabelledBatch
    before: Labels
    fraction: Float[Array, " examples"]


class InterpolatedLabels(AbstractGradualStream):
    """The labels of each row move from those of the task before to those of the task.

    The loss is (1 - a) loss(labels before) + a loss(labels), with the fraction a of the change (see
    `abruptness`). For classes it is the cross-entropy with (1 - a) one_hot(before) +
    a one_hot(now) as the target, and for several answers likewise. For numbers its gradient is that
    of the squared error to (1 - a) before + a now. The accuracy is averaged in the same way.

    Liu and Mou, *Do Neural Networks Lose Plasticity in a Gradually Changing World?*
    (arXiv 2602.09234, 2026), take another path between the same end points: one-hot labels are
    smoothed until they are uniform, switched there, and sharpened again. This is
    `through_uniform=True`. There a rises by a fixed amount every few epochs; here it rises at every
    gradient step.

    Step t = 1, ..., T of a task has a = min(1, t / ((1 - abruptness) T)); the first task has a = 1.
    `evaluate` and `sample` are those of the task at a = 1. Everything else is that of the wrapped
    stream.

    ```python
    data = tasks.load_images("digits")
    loader = tasks.Loader(epochs=2, flat=True)
    stream = tasks.InterpolatedLabels(tasks.RandomLabels(data, rows=200, loader=loader))
    ```
    """

    stream: AbstractLabelledStream[Any]
    abruptness: Float[Array, ""]
    through_uniform: bool = eqx.field(static=True)

    def __init__(
        self,
        stream: AbstractLabelledStream,
        *,
        abruptness: float | Float[Array, ""] = 0.0,
        through_uniform: bool = False,
    ):
        """**Arguments:**

        - `stream`: a stream of labelled data that changes only labels, such as `PermutedLabels`,
          `RandomLabels` or `FlippedLabels`.
        - `abruptness`: from 0, a change over the whole task, to 1, a change at once.
        - `through_uniform`: go from the labels before to uniform ones, and from there to the labels
          of the task.

        **Raises:** `TypeError` for another kind of stream, `ValueError` for a stream that changes
        inputs or rows, for an abruptness outside [0, 1], or for `through_uniform` with labels that
        are numbers, of which none are uniform.
        """
        self.abruptness = checked(stream, abruptness)
        check_only_changes(stream, "labels", "`InterpolatedLabels`")
        numbers = jnp.issubdtype(stream.source.data.part("train")[1].dtype, jnp.floating)
        if through_uniform and numbers:
            raise ValueError(
                "`through_uniform` is True, but the labels of `stream` are numbers, of which none "
                "are uniform: leave it out."
            )
        self.stream = stream
        self.through_uniform = through_uniform

    def mixed(
        self, state: GradualTask, items: PyTree, fraction: Float[Array, " minibatches"], **draw: Any
    ) -> BlendedItem:
        return with_fraction(items, fraction)

    def batch(self, state: GradualTask, item: BlendedItem) -> BlendedBatch:
        now = self.stream.batch(state.now, item.item)
        before = self.stream.batch(state.before, item.item)
        return BlendedBatch(now, before.labels, item.fraction)

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: LabelledBatch | BlendedBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples outputs"], Aux]:
        own = batch.now if isinstance(batch, BlendedBatch) else batch
        return self.stream.forward(model, model_state, own, key=key, inference=inference)

    def criterion(
        self, outputs: Float[Array, "examples outputs"], batch: LabelledBatch | BlendedBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns the loss and the metrics of the wrapped stream, averaged over the labels of both
        tasks. A batch of `sample` has those of the task alone."""
        if isinstance(batch, LabelledBatch):
            return self.stream.criterion(outputs, batch)
        a = batch.fraction

        def scores(labels: Labels) -> PyTree[Float[Array, " examples"]]:
            one = lambda z, e: self.stream.criterion(z[None], jax.tree.map(lambda x: x[None], e))
            return jax.vmap(one)(outputs, replace(batch.now, labels=labels))

        parts = [(1 - a, scores(batch.before)), (a, scores(batch.now.labels))]
        if self.through_uniform:
            weights = (jnp.maximum(1 - 2 * a, 0), jnp.maximum(2 * a - 1, 0))
            parts = [(w, score) for w, (_, score) in zip(weights, parts, strict=True)]
            uniform = jax.vmap(scores)(self._every_label(batch.now.labels))
            smooth = jax.tree.map(lambda x: jnp.mean(x, axis=0), uniform)
            parts.append((1 - jnp.abs(2 * a - 1), smooth))
        weighted = [jax.tree.map(lambda x, w=w: w * x, score) for w, score in parts]
        return jax.tree.map(lambda *x: jnp.mean(sum(x)), *weighted)

    def output_loss(self) -> AbstractLoss | None:
        """Returns that of the wrapped stream, which is right for the batches of `sample`."""
        return super().output_loss()

    def _every_label(self, labels: Labels) -> Shaped[Array, "kinds ..."]:
        """Labels whose mean loss is that of a uniform target: each class, or both answers."""
        kinds = jnp.arange(2).astype(bool) if labels.dtype == bool else jnp.arange(self.out_size)
        return jax.vmap(lambda kind: jnp.full_like(labels, kind))(kinds)
