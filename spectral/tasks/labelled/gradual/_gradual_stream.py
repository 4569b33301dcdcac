"""What gradual streams share: two tasks of another stream, and how far the change has come."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ...._arguments import check_fraction
from ...._base._quantity import Quantity
from ...._types import Aux, Chunk, Clock, Learner
from ....curvature import AbstractLoss
from ..._base._classification import LabelledBatch
from ..._base._splits import Split
from ..._base._stream import AbstractTaskStream, Metrics
from ..streams._labelled_stream import AbstractLabelledStream, LabelledTask


class GradualTask(eqx.Module):
    """The states of the wrapped stream in the task before and in this one."""

    before: LabelledTask[Any]
    now: LabelledTask[Any]


class AbstractGradualStream(AbstractTaskStream[GradualTask]):
    """The tasks of another stream, each reached gradually from the task before.

    In a task of T gradient steps, step t = 1, 2, ..., T sees the fraction
    min(1, t / ((1 - abruptness) T)) of the change from the task before. It is above 0 at once, and
    1 from t = (1 - abruptness) T to the end. So both end points are exactly the two tasks: the
    task before ended at a fraction of 1 of its own change, and so does this one. The first task
    changes nothing. Neither does a fresh task: it is one of the wrapped stream from its first step.
    In a change towards it, the network of the run would begin with examples of a task that it
    knows, and a fresh network with examples that are new to it.

    - `stream`: the wrapped stream. Sizes, metrics, quantities and losses are its own. `evaluate`
      and `sample` are those of the task that the change leads to, so evaluations and probes are
      comparable with runs on the wrapped stream.
    - `abruptness`: 1 changes at once, which is the wrapped stream; 0 changes over the whole task.
    """

    stream: eqx.AbstractVar[AbstractLabelledStream[Any]]
    abruptness: eqx.AbstractVar[Float[Array, ""]]

    @abstractmethod
    def mixed(
        self, state: GradualTask, items: PyTree, fraction: Float[Array, " minibatches"], **draw: Any
    ) -> PyTree:
        """Returns the items of a chunk with what `batch` needs to know of the change. The keyword
        arguments `learner`, `clock` and `key` are those of `collect`."""

    @property
    def num_tasks(self) -> int:
        """The number of tasks of the wrapped stream."""
        return self.stream.num_tasks

    @property
    def chunks_per_task(self) -> int:
        """The number of chunks of the wrapped stream."""
        return self.stream.chunks_per_task

    @property
    def minibatches(self) -> int:
        """The number of minibatches of the wrapped stream."""
        return self.stream.minibatches

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of an input."""
        return self.stream.in_shape

    @property
    def in_size(self) -> int:
        """The number of entries of an input."""
        return self.stream.in_size

    @property
    def out_size(self) -> int:
        """The length of the output vector."""
        return self.stream.out_size

    @property
    def chance_accuracy(self) -> float | None:
        """The accuracy of guessing in the wrapped stream."""
        return self.stream.chance_accuracy

    def quantities(self) -> dict[str, Quantity]:
        return self.stream.quantities()

    def init(self, *, key: PRNGKeyArray) -> GradualTask:
        state = self.stream.init(key=key)
        return GradualTask(state, state)

    def begin_task(self, state: GradualTask, clock: Clock, *, key: PRNGKeyArray) -> GradualTask:
        now = self.stream.begin_task(state.now, clock, key=key)
        first = clock.task == 0
        before = jax.tree.map(lambda new, old: jnp.where(first, new, old), now, state.now)
        return GradualTask(before, now)

    def rebuild(
        self, state: GradualTask, task: Int[Array, ""], *, key: PRNGKeyArray
    ) -> GradualTask:
        again = lambda task: self.stream.rebuild(state.now, task, key=key)
        return GradualTask(again(jnp.maximum(task - 1, 0)), again(task))

    def fresh_task(self, state: GradualTask, clock: Clock, *, key: PRNGKeyArray) -> GradualTask:
        """Returns a fresh task of the wrapped stream, which nothing leads to gradually.

        **Raises:** `NoFreshTaskError` if the wrapped stream has none.
        """
        fresh = self.stream.fresh_task(state.now, clock, key=key)
        return GradualTask(fresh, fresh)

    def collect(
        self, state: GradualTask, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[GradualTask, Chunk, Metrics]:
        own_key, mixing_key = self._keys(key)
        now, chunk, metrics = self.stream.collect(state.now, learner, clock, key=own_key)
        used = chunk.minibatches if chunk.in_use is None else chunk.in_use
        steps = clock.chunk * used + jnp.arange(1, chunk.minibatches + 1)
        duration = (1 - self.abruptness) * self.chunks_per_task * used
        fraction = jnp.minimum(steps / jnp.maximum(duration, 1), 1)
        # A fresh task is its own task before.
        changes = (clock.task > 0) & ~jnp.asarray(eqx.tree_equal(state.before, state.now))
        fraction = jnp.where(changes, fraction, 1)
        items = self.mixed(
            state, chunk.items, fraction, learner=learner, clock=clock, key=mixing_key
        )
        return GradualTask(state.before, now), Chunk(items, in_use=chunk.in_use), metrics

    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: LabelledBatch,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[Float[Array, "examples outputs"], Aux]:
        return self.stream.forward(model, model_state, batch, key=key, inference=inference)

    def criterion(
        self, outputs: Float[Array, "examples outputs"], batch: LabelledBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Returns the loss and the metrics of the wrapped stream."""
        return self.stream.criterion(outputs, batch)

    def output_loss(self) -> AbstractLoss | None:
        """Returns that of the wrapped stream, or `None` if its class has changed the criterion
        alone."""
        definer = lambda name: next(c for c in type(self.stream).__mro__ if name in vars(c))
        fits = issubclass(definer("output_loss"), definer("criterion"))
        return self.stream.output_loss() if fits else None

    def sample(
        self,
        state: GradualTask,
        learner: Learner,
        num_examples: int,
        split: Split,
        *,
        key: PRNGKeyArray,
    ) -> LabelledBatch:
        """Returns examples of the task that the change leads to."""
        return self.stream.sample(state.now, learner, num_examples, split, key=key)

    def evaluate(self, state: GradualTask, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        return self.stream.evaluate(state.now, learner, key=key)

    def _keys(self, key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray | None]:
        """The key of the wrapped stream, and one for draws of its own, if it draws anything."""
        return key, None


def checked(stream: Any, abruptness: Any) -> Float[Array, ""]:
    """Returns the abruptness as data.

    **Raises:** `TypeError` for a stream whose tasks are not rows of one labelled set, `ValueError`
    for an abruptness outside [0, 1].
    """
    check_fraction("abruptness", abruptness)
    if not isinstance(stream, AbstractLabelledStream):
        raise TypeError(
            f"`stream` is of type {type(stream).__name__}, but must derive from "
            "`AbstractLabelledStream`: only there is the task before known when the next one is "
            "shown. Pass for example `tasks.PermutedInputs(...)` in the place of "
            "`tasks.PermutedImages(...)`, whose chunks hold pixels that are permuted already."
        )
    return jnp.asarray(abruptness, dtype=float)


def check_only_changes(stream: AbstractLabelledStream[Any], wanted: str, wrapper: str) -> None:
    """**Raises:** `ValueError` if two tasks of a stream differ in more than the `wanted` part."""
    if stream.only_changes != wanted:
        fixed = {"inputs": "labels", "labels": "inputs"}[wanted]
        changed = stream.only_changes or "rows"
        raise ValueError(
            f"`stream` is of type {type(stream).__name__}, whose tasks differ in their {changed}, "
            f"but {wrapper} blends the {wanted} of one row, which must have the same {fixed} in "
            "both tasks. Its end points would not be the two tasks: use `tasks.DriftingMixture`, "
            "or set `only_changes` in the class of a stream of your own."
        )
