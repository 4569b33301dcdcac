"""The interface between a task stream and the training loop."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..._base._quantity import Quantity
from ..._types import Aux, Chunk, Clock, Learner
from ...curvature import AbstractLoss
from ._no_fresh_task import NoFreshTaskError
from ._splits import Split


State = TypeVar("State")
Metrics = dict[str, Array]


class AbstractTaskStream(eqx.Module, Generic[State]):
    """A sequence of tasks: the data or environment of each, and the loss that belongs to it.

    A stream is immutable and holds its data in array fields. Its state evolves and persists across
    tasks. A task consists of chunks (epochs, slices of an online stream, or rollouts), a chunk of
    minibatches, and each minibatch gives one gradient step.

    All sizes are static. Every method runs inside the compiled loop and must be a pure function of
    its arguments. All randomness comes from `key`. The loop derives it from the run's key and the
    clock, so that no draw depends on what else was run.
    """

    # The metric of `evaluate` that says how well a network learns a task; `None`: the loss of the
    # steps. The losses of two policies cannot be compared, because each has its own rollouts.
    outcome_metric: ClassVar[str | None] = None
    # Whether `begin_task` draws another task from another key.
    draws_tasks: ClassVar[bool] = False
    num_tasks: eqx.AbstractVar[int]
    chunks_per_task: eqx.AbstractVar[int]
    minibatches: eqx.AbstractVar[int]  # in each chunk

    @abstractmethod
    def init(self, *, key: PRNGKeyArray) -> State:
        """Returns the state before the first task."""

    def begin_run(self, state: State, learner: Learner) -> State:
        """Complete the result of `init` with what depends on the learner, such as a copy of the
        network. By default nothing does. The loop calls it once, before the first task."""
        return state

    @abstractmethod
    def begin_task(self, state: State, clock: Clock, *, key: PRNGKeyArray) -> State:
        """Begin the next task: draw a permutation, add classes, change the friction."""

    def rebuild(self, state: State, task: Int[Array, ""], *, key: PRNGKeyArray) -> State:
        """Returns the state at the start of another task of the run, bit for bit.

        Streams define it if that state follows from the key of the run and the index of the task.
        The state of a walk from task to task, or of environments that were played, does not.

        **Arguments:**

        - `state`: the state in the present task, which holds what is constant in a run.
        - `task`: the index of the other task.
        - `key`: the key of the run.

        **Raises:** `TypeError` for a stream that does not define it.
        """
        raise TypeError(
            f"`stream` is of type {type(self).__name__}, which cannot rebuild an earlier task, but "
            "must define `rebuild`: choose another stream, such as `tasks.PermutedImages`, or "
            "remove the part that returns to earlier tasks."
        )

    def fresh_task(self, state: State, clock: Clock, *, key: PRNGKeyArray) -> State:
        """Returns the state at the start of a task that is drawn as those of the run are, but that
        the run will not see. Probes train copies of the network on it.

        By default it is what `begin_task` makes of the next task with another key, if the stream
        says by `draws_tasks` that this is another task. `state` is the state in the present task,
        and `clock` the start of the task in whose place the new one begins.

        **Raises:** `NoFreshTaskError`, with the reason, for a stream that has no such task.
        """
        if self.draws_tasks:
            # Some streams leave the first task of a run as it is.
            later = replace(clock, task=jnp.maximum(clock.task, 1))
            return self.begin_task(state, later, key=key)
        raise NoFreshTaskError(
            f"`stream` is of type {type(self).__name__}, which has no task that the run will not "
            "see, or does not say so: set `draws_tasks` if `begin_task` draws another task with "
            "another key, define `fresh_task`, or choose a stream such as `tasks.PermutedImages`."
        )

    @abstractmethod
    def collect(
        self, state: State, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[State, Chunk, Metrics]:
        """Collect the data of the next chunk, with leaves `[minibatches, examples, ...]`.

        The metrics, such as the returns of episodes, are recorded once per chunk.
        """

    @abstractmethod
    def batch(self, state: State, item: PyTree) -> PyTree:
        """Make a batch, `[examples, ...]`, from one minibatch of a chunk: gather, scale, mask."""

    @abstractmethod
    def forward(
        self,
        model: Any,
        model_state: eqx.nn.State | None,
        batch: PyTree,
        *,
        key: PRNGKeyArray,
        inference: bool,
    ) -> tuple[PyTree, Aux]:
        """Returns the outputs of the network for a batch, its activations, and its new state."""

    @abstractmethod
    def criterion(self, outputs: PyTree, batch: PyTree) -> tuple[Float[Array, ""], Metrics]:
        """Returns the mean loss over the batch (the surrogate g of the paper, section 4).

        The metrics of the step are averaged over the chunk.
        """

    def output_loss(self) -> AbstractLoss | None:
        """Returns the criterion as a loss of single examples that defines its own Hessian in the
        outputs, or `None` (the default) to differentiate `criterion` itself."""
        return None

    @abstractmethod
    def sample(
        self, state: State, learner: Learner, num_examples: int, split: Split, *, key: PRNGKeyArray
    ) -> PyTree:
        """Returns `num_examples` examples of the current task, for probes and curvature."""

    @abstractmethod
    def evaluate(self, state: State, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        """Returns the metric f of the paper (section 4) at the end of a task, on held-out data."""

    def quantities(self) -> dict[str, Quantity]:
        """Returns what the metrics are, by their names, the main one first. Metrics that are left
        out are recorded but not shown. By default all are shown under their own names."""
        return {}
