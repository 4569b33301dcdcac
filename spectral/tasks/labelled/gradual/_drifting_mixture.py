"""Examples of two tasks in a mixture that drifts from one to the other."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._base._classification import LabelledBatch
from ..streams._labelled_stream import AbstractLabelledStream, LabelledItem
from ._gradual_stream import AbstractGradualStream, checked, GradualTask


class MixedItem(eqx.Module):
    """The rows of a minibatch in the task and in the task before, and which of the two is shown."""

    now: LabelledItem
    before: LabelledItem
    shown: Bool[Array, "*batch"]  # the row of the task


class DriftingMixture(AbstractGradualStream):
    """Each example of a minibatch is one of the task with the probability a, and otherwise one of
    the task before, where a is the fraction of the change (see `abruptness`).

    Liu and Mou, *Do Neural Networks Lose Plasticity in a Gradually Changing World?*
    (arXiv 2602.09234, 2026). There a data set of n examples has floor(a n) of the new task, and a
    rises by a fixed amount every few epochs. Here each example is drawn, and a rises at every
    gradient step, so that minibatches of one example change gradually too.

    Examples of either task come in the order of an epoch of that task, and have their inputs,
    labels and masks. So the end points are exactly the two tasks for every stream of labelled data.
    A task takes the steps that the wrapped stream takes in it.

    Step t = 1, ..., T of a task has a = min(1, t / ((1 - abruptness) T)); the first task has a = 1.
    `evaluate` and `sample` are those of the task at a = 1. Everything else is that of the wrapped
    stream.

    ```python
    data = tasks.load_images("digits")
    pairs = tasks.SplitClasses(data, num_tasks=5, loader=tasks.Loader(flat=True))
    stream = tasks.DriftingMixture(pairs, abruptness=0.5)
    ```
    """

    stream: AbstractLabelledStream[Any]
    abruptness: Float[Array, ""]

    def __init__(
        self, stream: AbstractLabelledStream, *, abruptness: float | Float[Array, ""] = 0.0
    ):
        """**Arguments:**

        - `stream`: any stream of labelled data.
        - `abruptness`: from 0, a change over the whole task, to 1, a change at once.

        **Raises:** `TypeError` for another kind of stream, `ValueError` for an abruptness outside
        [0, 1].
        """
        self.abruptness = checked(stream, abruptness)
        self.stream = stream

    def mixed(
        self,
        state: GradualTask,
        items: PyTree,
        fraction: Float[Array, " minibatches"],
        *,
        key: PRNGKeyArray,
        **collecting: Any,
    ) -> MixedItem:
        order_key, draw_key = jax.random.split(key)
        _, earlier, _ = self.stream.collect(state.before, **collecting, key=order_key)
        minibatch = jnp.arange(earlier.minibatches)
        if earlier.in_use is not None:  # a task before with fewer minibatches repeats them
            minibatch = minibatch % earlier.in_use
        before = jax.tree.map(lambda leaf: leaf[minibatch], earlier.items)
        shown = jax.random.uniform(draw_key, items.rows.shape) < fraction[:, None]
        return MixedItem(items, before, shown)

    def batch(self, state: GradualTask, item: MixedItem) -> LabelledBatch:
        now = self.stream.batch(state.now, item.now)
        before = self.stream.batch(state.before, item.before)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(item.shown.reshape(-1, *(1 for _ in new.shape[1:])), new, old)

        return jax.tree.map(choose, now, before)

    def _keys(self, key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        own_key, mixing_key = jax.random.split(key)
        return own_key, mixing_key
