"""What the loop asks of a task stream."""

from abc import abstractmethod
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._types import Aux, Chunk, Clock, Learner
from ...curvature import AbstractLoss


State = TypeVar("State")
Metrics = dict[str, Array]
Split = Literal["train", "held_out"]


class AbstractTaskStream(eqx.Module, Generic[State]):
    """A sequence of tasks: the data or environment of each, and the loss that belongs to it.

    A stream is immutable and holds its data in array fields. What evolves is its state, which
    outlives tasks. A task is a number of chunks (epochs, slices of an online stream, rollouts), a
    chunk a number of minibatches, and each minibatch one gradient step.

    All sizes are static. Every method runs inside the compiled loop and must be a pure function of
    its arguments; all randomness comes from `key`, which the loop derives from the run's key and
    the clock, so that no draw depends on what else was run.
    """

    num_tasks: eqx.AbstractVar[int]
    chunks_per_task: eqx.AbstractVar[int]
    minibatches: eqx.AbstractVar[int]  # in each chunk

    @abstractmethod
    def init(self, *, key: PRNGKeyArray) -> State:
        """The state before the first task."""

    @abstractmethod
    def begin_task(self, state: State, clock: Clock, *, key: PRNGKeyArray) -> State:
        """Change the task: a new permutation, more classes, another friction."""

    @abstractmethod
    def collect(
        self, state: State, learner: Learner, clock: Clock, *, key: PRNGKeyArray
    ) -> tuple[State, Chunk, Metrics]:
        """The data of the next chunk, with leaves `[minibatches, examples, ...]`, and metrics of
        collecting them (returns of episodes, say), which are recorded once per chunk."""

    @abstractmethod
    def batch(self, state: State, item: PyTree) -> PyTree:
        """Make a batch, `[examples, ...]`, from one item of a chunk: scale, mask, gather."""

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
        """The outputs of the network for a batch, its activations, and its new model state."""

    @abstractmethod
    def criterion(self, outputs: PyTree, batch: PyTree) -> tuple[Float[Array, ""], Metrics]:
        """The mean loss over the batch (the surrogate g of the paper, section 4) and metrics of
        this step, which are averaged over the chunk."""

    def output_loss(self) -> AbstractLoss | None:
        """The criterion example by example, where it says for itself what stands for its Hessian in
        the outputs; `None`, as for most streams, if the criterion is taken as it is."""
        return None

    @abstractmethod
    def sample(
        self, state: State, learner: Learner, num_examples: int, split: Split, *, key: PRNGKeyArray
    ) -> PyTree:
        """A batch of `num_examples` examples of the present task for probes and curvature."""

    @abstractmethod
    def evaluate(self, state: State, learner: Learner, *, key: PRNGKeyArray) -> Metrics:
        """The metric f of the paper (section 4) at the end of a task, never on training rows."""
